"""`dspex gate`: the exit code is the verdict, and nothing that went wrong looks like one."""

import json
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from dspex.app.lm import LM
from dspex.cli.main import cli
from dspex.core.messages import LMResponse
from dspex.program.predict import Predict
from dspex.program.signature import make_signature

HOSTILE = "]]>&<b>@all\x00 | [x](http://x) `"


class Provider:
    """Right on the share of the questions that the instructions name, in hundredths."""

    def __init__(self) -> None:
        self.calls = 0

    async def complete(self, request):
        self.calls += 1
        share = int(next(line for line in request.messages[0].text.split() if line.startswith("%"))[1:])
        number = int(request.messages[-1].text.split("number")[1][:3])
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{'yes' if number * 37 % 100 < share else HOSTILE}")


@pytest.fixture
def provider(own_app):
    provider = Provider()
    own_app.configure(lm=LM("own/m", provider=provider, cache=False, num_retries=0))
    return provider


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a devset, metrics and programs that are right in 50, 56, 60 and 80 % of cases; the command stands in it."""
    monkeypatch.chdir(tmp_path)
    rows = [{"question": f"number{i:03}", "answer": "yes"} for i in range(100)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    metrics = (
        "def exact(example, pred): return example.answer == pred.answer\ndef broken(example, pred): return pred.x\n"
    )
    (tmp_path / "gate_metrics.py").write_text(metrics)
    for share in (50, 51, 80):
        Predict(make_signature("question -> answer", f"Answer. %{share}")).save(tmp_path / f"{share}.json")
    return tmp_path


@pytest.fixture
def gate(folder, provider):
    def run(new: int, old: int, *more: str, devset: str = "d.jsonl", metric: str = "gate_metrics:exact"):
        files = [f"{new}.json", "--against", f"{old}.json", "--devset", devset, "--metric", metric]
        return CliRunner().invoke(cli, ["gate", *files, *more], prog_name="dspex")

    return run


@pytest.mark.parametrize(
    ("new", "old", "options", "code", "words"),
    [
        (80, 50, (), 0, "PASSED: better, +30.0 points"),
        (50, 80, (), 1, "FAILED: worse, -30.0 points"),
        (50, 51, (), 0, "PASSED: not shown, -1.0 points"),
        (50, 51, ("--margin", "6"), 0, "a loss of more than 6 points is ruled out (at worst -5.4)"),
        (50, 51, ("--margin", "5"), 1, "a loss of more than 5 points is not ruled out (at worst -5.4)"),
        (80, 50, ("--sequential",), 0, "PASSED: better"),
        (50, 80, ("--sequential",), 1, "FAILED: worse"),
    ],
)
def test_the_exit_code_is_the_verdict(gate, new, old, options, code, words):
    told = gate(new, old, *options)
    assert told.exit_code == code
    assert words in told.stdout


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"metric": "gate_metrics:nothing"}, "--metric gate_metrics:nothing: AttributeError"),
        ({"metric": "no_such_module:exact"}, "No module named 'no_such_module'"),
        ({"metric": "gate_metrics:broken"}, "10 of 10 examples failed"),
        ({"devset": "none.jsonl"}, "none.jsonl"),
        ({"old": 99}, "99.json cannot be read"),
        ({"new": 99}, "99.json cannot be read"),
    ],
    ids=str,
)
def test_what_cannot_be_decided_has_an_exit_code_of_its_own(gate, how, words):
    told = gate(**{"new": 80, "old": 50} | how)
    assert told.exit_code == 2
    assert words in told.stderr


@pytest.mark.parametrize(("option", "calls"), [(("--max-calls", "7"), 7), (("--budget", "1"), 0)])
def test_a_budget_is_a_wall(gate, provider, option, calls):
    told = gate(80, 50, *option)
    assert told.exit_code == 2
    assert provider.calls == calls


def test_a_damaged_line_of_the_devset_is_named(gate, folder):
    (folder / "bad.jsonl").write_text('{"question": "a", "answer": "b"}\n{"question": \n')
    told = gate(80, 50, devset="bad.jsonl")
    assert told.exit_code == 2
    assert "bad.jsonl, line 2" in told.stderr


def test_an_unexpected_fault_is_no_verdict(gate, folder):
    (folder / "gate_faulty.py").write_text(
        "class Odd:\n    __signature__ = 3\n    def __call__(self, a, b): pass\nodd = Odd()\n"
    )
    told = gate(80, 50, metric="gate_faulty:odd")
    assert told.exit_code == 2


def test_a_killed_gate_goes_on(gate, provider):
    first = gate(80, 50, "--run-dir", "run", "--max-calls", "150")
    assert (first.exit_code, provider.calls) == (2, 150)
    assert gate(80, 50, "--run-dir", "run").exit_code == 0
    assert provider.calls <= 200 + 64


@pytest.mark.parametrize(("new", "old", "failures"), [(80, 50, 0), (50, 80, 1)])
def test_junit_has_one_case_that_fails_with_the_gate(gate, folder, new, old, failures):
    gate(new, old, "--junit", "out/junit.xml")
    suites = ElementTree.parse(folder / "out" / "junit.xml").getroot()
    assert (suites.get("tests"), suites.get("failures")) == ("1", str(failures))
    case = suites.find("testsuite/testcase")
    assert len(case.findall("failure")) == failures
    assert "<b>@all" in case.find("system-out").text


def test_markdown_shows_figures_and_examples_as_plain_text(gate, folder):
    gate(50, 80, "--markdown", "summary.md")
    text = (folder / "summary.md").read_text()
    assert text.startswith("## Failed: worse, -30.0 points")
    assert "| before | 80.0 [" in text
    assert "<summary>Lost (30)</summary>" in text
    for meant in ("<b>", "@all", "[x](", "`", "\x00"):
        assert meant not in text


def test_the_report_can_be_had_as_a_page(gate, folder):
    gate(80, 50, "--html", "report.html")
    assert "<b>@all" not in (folder / "report.html").read_text()


def test_inputs_of_a_program_that_does_not_tell_them_are_named(gate, folder):
    (folder / "gate_program.py").write_text(
        "from dspex.program.module import Module\nfrom dspex.program.predict import Predict\n"
        "class Program(Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.answer = Predict('question -> answer')\n"
        "    async def aforward(self, **given):\n        return await self.answer.acall(**given)\n"
    )
    from dspex.cli.programs import imported

    program = imported("gate_program:Program", "--program")()
    for share in (50, 80):
        program.answer.signature = make_signature("question -> answer", f"Answer. %{share}")
        program.save(folder / f"{share}.json")
    assert "name them, --inputs" in gate(80, 50, "--program", "gate_program:Program").stderr
    assert gate(80, 50, "--program", "gate_program:Program", "--inputs", "question").exit_code == 0
