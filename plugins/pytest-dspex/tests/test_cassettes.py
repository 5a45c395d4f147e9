"""A test is recorded once, and played from then on."""

import pytest

ASKS = """
import dspex, pytest
from dspex.plugin import LMResponse

class Live:
    async def complete(self, request):
        with open("asked.txt", "a") as file:
            file.write("x")
        return LMResponse.from_text("[[ ## answer ## ]]\\n4")

@pytest.mark.parametrize("n", [1, 2])
def test_ask(cassette, n):
    with dspex.context(lm=dspex.LM("my/model", provider=Live())):
        assert dspex.Predict("question -> answer")(question=f"QUESTION {n}?").answer == "4"
    assert cassette.path.name.startswith(f"test_ask")
"""


@pytest.fixture
def asked(pytester):
    """How many calls were made so far."""

    def asked():
        path = pytester.path / "asked.txt"
        return len(path.read_text()) if path.exists() else 0

    return asked


def test_without_a_cassette_a_test_says_how_to_record_it(run, asked):
    result = run(ASKS)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["*There is no cassette *test_one*test_ask-1-*.jsonl. Record it once, --dspex-record=once*"]
    )
    assert asked() == 0


def test_it_is_recorded_once_and_then_played(run, asked, pytester):
    run(ASKS, "--dspex-record=once").assert_outcomes(passed=2)
    assert asked() == 2
    assert len(list((pytester.path / "cassettes" / "test_one").glob("*.jsonl"))) == 2
    for record in ("none", "once"):
        run(None, f"--dspex-record={record}").assert_outcomes(passed=2)
    assert asked() == 2
    run(None, "--dspex-record=all").assert_outcomes(passed=2)
    assert asked() == 4


def test_a_prompt_that_changed_fails_and_shows_the_nearest(run, asked):
    run(ASKS, "--dspex-record=once").assert_outcomes(passed=2)
    for record in ("none", "once"):
        result = run(ASKS.replace("QUESTION", "ANOTHER"), f"--dspex-record={record}")
        result.assert_outcomes(failed=2)
        result.stdout.fnmatch_lines(["*CassetteMiss*", "*QUESTION 1?*"])
    assert asked() == 2


def test_a_first_recording_whose_test_fails_is_thrown_away(run, pytester):
    failing = ASKS.replace('== "4"\n', '== "4"\n    assert n == 2\n')
    run(failing, "--dspex-record=once").assert_outcomes(passed=1, failed=1)
    assert [path.name[:10] for path in (pytester.path / "cassettes" / "test_one").iterdir()] == ["test_ask-2"]


def test_processes_record_side_by_side(run, asked):
    run(ASKS, "--dspex-record=once", "-n", "2", process=True).assert_outcomes(passed=2)
    run(None, "-n", "2", process=True).assert_outcomes(passed=2)
    assert asked() == 2


def test_an_async_test_is_played_too(run, asked):
    source = (
        ASKS.replace("def test_ask", "@pytest.mark.asyncio\nasync def test_ask")
        .replace('"question -> answer")(', '"question -> answer").acall(')
        .replace("assert dspex.Predict", "assert (await dspex.Predict")
        .replace('}?").answer', '}?")).answer')
    )
    run(source, "--dspex-record=once").assert_outcomes(passed=2)
    run(None).assert_outcomes(passed=2)
    assert asked() == 2


def test_another_mode_is_refused(run):
    result = run(ASKS, "--dspex-record=always")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*invalid choice: 'always'*"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("test_a.py::test_x[a/b]", "test_a.py::test_x[a b]"),
        (f"test_a.py::test_{'x' * 300}1", f"test_a.py::test_{'x' * 300}2"),
    ],
    ids=["odd", "long"],
)
def test_two_tests_never_share_a_file(one, other, tmp_path):
    from pytest_dspex.cassettes import place

    first, second = (place(tmp_path / "test_a.py", node) for node in (one, other))
    assert first != second
    assert len(first.name) < 130
