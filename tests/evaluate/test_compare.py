"""Two programs on the same examples: the verdict, the form that stops early, and what the reports show."""

import asyncio
import html.parser
import stat
from xml.etree import ElementTree

import msgspec
import pytest

from dspex.core.errors import ConfigurationError, EvaluationError
from dspex.core.example import Prediction
from dspex.evaluate.compare import ProgramComparison, acompare, compare
from dspex.evaluate.evaluate import Evaluate
from dspex.evaluate.statistics import Comparison

HOSTILE = "</pre></td><script>alert(1)</script><img src=x onerror=alert(1)> \x1b[2J & \"'\ud800"


class Right:
    """Right on a share of the questions, in hundredths; else it answers with what it is told."""

    def __init__(self, percent: int, wrong: str = "wrong") -> None:
        self.percent, self.wrong, self.started = percent, wrong, 0

    async def acall(self, question: str) -> Prediction:
        self.started += 1
        right = int(question) * 37 % 100 < self.percent
        return Prediction(answer=question if right else self.wrong)


@pytest.fixture(params=["sync", "async"])
def compared(request):
    """Compares in both forms."""

    def run(*args, **kwargs):
        if request.param == "sync":
            return compare(*args, **kwargs)
        return asyncio.run(acompare(*args, **kwargs))

    return run


def test_the_second_program_is_compared_with_the_first(compared, questions, exact):
    found = compared(Right(50), Right(80), questions(100), exact)
    assert isinstance(found, Comparison)
    assert (found.verdict, found.wins, found.losses, found.n) == ("better", 30, 0, 100)
    assert found.delta == pytest.approx(0.3)
    assert (found.before.score, found.after.score) == (50.0, 80.0)
    assert [old.index for old, _ in found.won] == [i for i in range(100) if 50 <= i * 37 % 100 < 80]
    assert found.lost == []
    assert compared(Right(80), Right(50), questions(100), exact).verdict == "worse"


def test_a_comparison_is_written_as_data(compared, questions, exact):
    found = compared(Right(50), Right(80), questions(64), exact, sequential=True)
    read = msgspec.json.decode(msgspec.json.encode(found), type=ProgramComparison)
    assert read == found
    assert (read.verdict, read.looks) == ("better", found.looks)


def test_results_that_are_there_already_are_compared_without_a_run(compared, run, questions, exact):
    evaluate = Evaluate(questions(60), exact)
    old, new = run(evaluate, Right(50)), run(evaluate, Right(90))
    assert compared(old, new).verdict == "better"
    with pytest.raises(EvaluationError, match="different examples"):
        compared(old, run(Evaluate(questions(50), exact), Right(90)))


@pytest.mark.parametrize("kind", ["iterator", "async"])
def test_a_devset_that_can_be_read_once_serves_both(compared, questions, exact, kind):
    async def later():
        for example in questions(40):
            yield example

    assert compared(Right(50), Right(50), iter(questions(40)) if kind == "iterator" else later(), exact).n == 40


def test_a_stricter_alpha_shows_less(compared, questions, exact):
    programs = Right(50), Right(56)
    assert compared(*programs, questions(100), exact).verdict == "better"
    assert compared(*programs, questions(100), exact, alpha=0.01).verdict == "not shown"
    with pytest.raises(ConfigurationError, match="alpha=5"):
        compared(*programs, questions(100), exact, alpha=5)


def test_the_sequential_form_stops_when_a_verdict_is_shown(compared, questions, exact):
    programs = Right(40), Right(58)
    found = compared(*programs, questions(2_000), exact, sequential=True)
    assert found.verdict == "better"
    assert found.n == programs[0].started == programs[1].started < 200
    assert [look.n for look in found.looks] == list(range(32, found.n + 1, 32))
    assert found.looks[-2].better < 40 <= found.looks[-1].better
    assert 0 < found.low < 0.18 < found.high


def test_the_sequential_form_ends_with_the_devset_and_does_not_depend_on_timing(compared, questions, exact):
    found = [
        compared(Right(50), Right(52), questions(100), exact, sequential=True, num_threads=threads)
        for threads in (1, 7)
    ]
    assert (found[0].verdict, found[0].n, found[0].looks[-1].n) == ("not shown", 100, 100)
    assert found[0].looks == found[1].looks
    assert [row.index for row in found[0].after.rows] == list(range(100))


def test_the_sequential_form_needs_programs_and_a_devset(compared, run, questions, exact):
    done = run(Evaluate(questions(10), exact), Right(50))
    with pytest.raises(ConfigurationError, match="two programs and a devset"):
        compared(done, done, sequential=True)
    with pytest.raises(EvaluationError, match="empty"):
        compared(Right(1), Right(2), [], exact, sequential=True)


@pytest.mark.parametrize("sequential", [False, True])
def test_a_comparison_with_a_run_folder_goes_on_where_it_ended(compared, questions, exact, tmp_path, sequential):
    def again(*programs):
        found = compared(*programs, questions(80), exact, sequential=sequential, run_dir=tmp_path / "run")
        return found, [program.started for program in programs]

    (first, ran), (second, repeated) = again(Right(50), Right(55)), again(Right(50), Right(55))
    assert (first.delta, first.before.results) == (second.delta, second.before.results)
    assert (ran, repeated) == ([80, 80], [0, 0])


@pytest.fixture
def hostile(questions, exact):
    """A comparison in which programs, metric and errors wrote what should never be interpreted."""

    class Failing(Right):
        async def acall(self, question: str) -> Prediction:
            if question == "3":
                raise RuntimeError(HOSTILE)
            return await super().acall(question)

    def told(example, prediction):
        return Prediction(score=exact(example, prediction), feedback=HOSTILE)

    return compare(Right(40, HOSTILE), Failing(70, HOSTILE), questions(64), told, sequential=True)


class Page(html.parser.HTMLParser):
    """Tags and attributes that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_the_page_interprets_nothing_that_programs_wrote_and_loads_nothing(hostile, tmp_path):
    path = tmp_path / "report.html"
    hostile.save_html(path)
    text = path.read_text()
    page = Page(text)
    assert page.tags.isdisjoint({"script", "img", "link", "iframe", "object", "base"})
    assert not any(name.startswith("on") or name in {"src", "href"} for name in page.attributes)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_pages_pictures_are_whole_and_say_in_words_what_they_show(hostile):
    text = hostile.html()
    pictures = [piece[: piece.index("</svg>") + 6] for piece in text.split("<svg")[1:]]
    titles = [ElementTree.fromstring(f"<svg{picture}").find("title").text for picture in pictures]
    assert len(titles) == 3
    assert titles[0].startswith("gain +")
    assert titles[1] == f"{hostile.losses} lost, {hostile.n - hostile.wins - hostile.losses} alike, {hostile.wins} won"
    assert titles[2].startswith("evidence after each of")


def test_a_page_without_any_change_is_one_too(questions, exact):
    found = compare(Right(50), Right(50), questions(10), exact)
    assert "<details>" not in found.html()
    assert "10 alike" in found.html()


def test_the_text_names_what_changed_and_moves_no_cursor(hostile):
    text = hostile.report()
    assert text.splitlines()[0] == str(hostile)
    assert f"Won ({hostile.wins})" in text
    assert "\\x1b[2J" in text
    assert "\x1b" not in text
    assert "before, answer: </pre>" in text


def test_the_text_shows_as_many_examples_as_asked(questions, exact):
    found = compare(Right(40), Right(80), questions(100), exact)
    assert found.report(limit=3).count("example ") == 3
    assert "Won (40, the first 3)" in found.report(limit=3)


def test_an_example_that_failed_says_why(questions, exact):
    class Failing(Right):
        async def acall(self, question: str) -> Prediction:
            raise LookupError("no such thing")

    text = compare(Right(100), Failing(100), questions(5), exact).report()
    assert "after  0.0 [0.0, 43.5], 5 failed" in text
    assert "after, failed: LookupError: no such thing" in text
