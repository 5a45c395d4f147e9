"""The report of a run: made from its journal, complete, and harmless whatever the run's texts say."""

import re
from html.parser import HTMLParser

import pytest

import dspex
from dspex.engine.artifact import example_key, extracted
from dspex.engine.progress import Ledger
from dspex.engine.report import page
from dspex.runtime.journal import FILE, replay
from dspex.runtime.records import End, Stopped

STUDENT = "question -> answer"


def records_of(folder):
    return replay((folder / FILE).read_bytes())[0]


def reported(lab, folder, **options):
    known = {example_key(one): one for one in [*lab.DATA["trainset"], *lab.DATA["valset"]]}
    return page(
        options.get("records") or records_of(folder),
        options.get("ledger", Ledger()),
        extracted(dspex.Predict(STUDENT)),
        known,
    )


class Strict(HTMLParser):
    """Reads a page; what it loads or runs is in `active`."""

    def __init__(self, text):
        super().__init__()
        self.active, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag in {"script", "link", "img", "iframe", "object"} or any(
            name[:2] == "on" or name in {"src", "href"} for name, _ in attributes
        ):
            self.active.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


async def test_it_shows_curve_candidates_prompts_and_examples(lab, app, tmp_path):
    program = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    html = reported(lab, tmp_path / "run", ledger=program.ledger)
    read = Strict(html)
    assert (read.active, read.open) == ([], [])
    assert "<h2>Score by cost</h2>" in html
    assert f"<h2>Candidates ({len(program.candidate_programs)})</h2>" in html
    for one in program.candidate_programs:
        assert f"<td>{one['label']}</td>" in html
    assert html.count("<td>returned</td>") == 1
    assert '<span class="better">+ -- demonstration 1, made by a run</span>' in html
    changed = [int(count) for count in re.findall(r"<h2>(?:Lost|Won) \((\d+)\)</h2>", html)]
    assert sum(changed) == program.evidence.comparison.wins + program.evidence.comparison.losses
    assert f"{program.ledger.paid:,} calls" in html
    assert "versions" in html


async def test_a_run_that_has_not_ended_has_a_report_too(lab, app, tmp_path):
    await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    whole = records_of(tmp_path / "run")
    for count in (1, 2, len(whole) // 2):
        kept = [one for one in whole[:count] if not isinstance(one, Stopped | End)]
        html = reported(lab, tmp_path, records=kept)
        assert "Search: not finished" in html
        assert Strict(html).open == []


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", "\"><img src=x onerror='1'>", "</pre></svg><a href=//x>", "\x00 \u202e \x1b[31m"],
)
async def test_hostile_texts_are_shown_and_never_interpreted(lab, app, tmp_path, hostile):
    class Named(lab.Search):
        async def run(self, ctx):
            demo = dspex.Demo({"question": hostile, "answer": hostile})
            made = ctx.student.with_demos({"self": (demo,)}).with_instructions({"self": hostile})
            ctx.consider(made, hostile)
            await ctx.evaluate_all([(made, ctx.val), (ctx.student, ctx.val)])
            return made

    class Model(lab.Model):
        async def complete(self, request):
            return (
                dspex.plugin.LMResponse.from_text(f"[[ ## answer ## ]]\n{hostile}")
                if "n=3" in request.messages[-1].text
                else await super().complete(request)
            )

    await lab.compiled(Model(), optimizer=Named(lambda example, made: len(made.answer) % 2), run_dir=tmp_path / "run")
    read = Strict(reported(lab, tmp_path / "run"))
    assert (read.active, read.open) == ([], [])


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9, 1.0], ids=["new", "half", "most", "whole"])
async def test_a_run_that_has_ended_leaves_its_report_in_its_folder(lab, app, tmp_path, kept):
    if kept:  # gone on with, it is of both lives
        await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
        journal = tmp_path / "run" / FILE
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[: int(kept * len(lines))]))
    program = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    path = tmp_path / "run" / "report.html"
    told, seconds = path.read_text(), r"<pre>[\d.]+ s</pre>"
    expected = reported(lab, tmp_path / "run", ledger=program.ledger)
    assert re.sub(seconds, "", told) == re.sub(seconds, "", expected)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_report_that_cannot_be_written_costs_no_program(lab, app, tmp_path):
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="could not be written: IsADirectoryError"):
        program = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    assert program.demos
