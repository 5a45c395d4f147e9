"""CodeAct: an agent that works by writing code, with its tools as functions in it."""

import pytest

import dspex
from dspex.testing import DummyLM

ANSWER = {"reasoning": "r", "answer": "42"}

pytestmark = pytest.mark.usefixtures("sandbox")


def look(word: str, times: int = 1) -> str:
    """Looks a word up."""
    return f"{word} " * times


async def rates(places: list[str]) -> dict[str, float]:
    """The rates of places."""
    return dict.fromkeys(places, 0.5)


def broken() -> None:
    """Fails."""
    raise OSError(2, "gone", "/secret/path")


class Shelf:
    """A callable object, with state: DSPy takes none."""

    def __init__(self):
        self.taken = []

    def __call__(self, book: str) -> int:
        """Takes a book."""
        self.taken.append(book)
        return len(self.taken)


def piece(text, finished=False):
    return {"generated_code": text, "finished": finished}


def outcome(run, *replies, tools=(look, rates, broken), **options):
    lm = DummyLM([*replies, ANSWER])
    inputs = {name: options.pop(name) for name in ("max_iters",) if name in options}
    with dspex.context(lm=lm):
        return run(dspex.CodeAct("question -> answer", list(tools), **options), question="?", **inputs), lm


def asked(lm, number):
    """The trajectory in one prompt."""
    return lm.get_convo(number)[0][-1]["content"].split("[[ ## trajectory ## ]]\n")[1].split("\n\nReply")[0]


def test_pieces_of_code_call_tools_and_find_what_was_defined_before(run):
    found, lm = outcome(run, piece("a = look('x', times=2)\nprint(a)"), piece("len(a), rates(['b'])['b']", True))
    assert found.answer == "42"
    assert found.reasoning == "r"
    assert found.trajectory == {
        "generated_code_0": "a = look('x', times=2)\nprint(a)",
        "code_output_0": "x x ",
        "generated_code_1": "len(a), rates(['b'])['b']",
        "code_output_1": "[4,0.5]",
    }
    assert asked(lm, 0) == "(no steps yet)"
    assert asked(lm, 1) == "Step 1\n  code: a = look('x', times=2)\n    print(a)\n  output: x x "
    assert asked(lm, 2).count("Step ") == 2


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (piece("1 / 0"), "ZeroDivisionError"),
        (piece("look()"), "'word' is missing"),
        (piece("look('a', 1, 2)"), "arguments that do not fit"),
        (piece("broken()"), "Tool 'broken' failed: FileNotFoundError: gone"),
        (piece("none_such()"), "none_such"),
        (piece(""), "there is no code in it"),
        (piece("```\na\n```\n\n```\nb\n```"), "expected one block"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model_which_goes_on(run, reply, words):
    found, lm = outcome(run, {**reply, "finished": True}, piece("1", True))
    assert words in found.trajectory["observation_0"]
    assert "/secret" not in found.trajectory["observation_0"]
    assert found.trajectory["code_output_1"] == "1"
    assert words in asked(lm, 1)


def test_a_reply_that_cannot_be_read_is_told_too(run, provider):
    script = provider("no fields", "no fields", piece("1", True), ANSWER)
    with dspex.context(lm=script.lm):
        found = run(dspex.CodeAct("question -> answer", []), question="?")
    assert "could not be read" in found.trajectory["observation_0"]


@pytest.mark.parametrize("at", ["made", "called"])
def test_after_max_iters_it_answers_with_what_it_has(run, at):
    found, lm = outcome(run, piece("1"), piece("2"), max_iters=2)
    assert len(lm.history) == 3
    assert found.trajectory["code_output_1"] == "2"


def test_tools_are_any_callables_and_run_outside_of_the_sandbox(run):
    shelf = Shelf()
    tool = dspex.Tool(shelf, name="take")
    found, _ = outcome(run, piece("[take('a'), take(book='b')]", True), tools=[tool])
    assert found.trajectory["code_output_0"] == "[1,2]"
    assert shelf.taken == ["a", "b"]


def test_the_prompt_tells_of_the_tools_whatever_becomes_of_the_instructions(run):
    program = dspex.CodeAct("question -> answer", [look, rates])
    program.codeact.signature = program.codeact.signature.with_instructions("Do it well.")
    lm = DummyLM([piece("1", True), ANSWER])
    with dspex.context(lm=lm):
        run(program, question="?")
    system = lm.get_convo(0)[0][0]["content"]
    assert "Do it well." in system
    assert "- `look(word: string, times: integer)`: Looks a word up." in system
    assert "There is no network." in system


def test_a_piece_without_output_and_one_that_lost_all_say_so(run):
    limits = dspex.SandboxLimits(seconds=0.1)
    found, _ = outcome(run, piece("x = 1"), piece("while True:\n    pass"), piece("x"), piece("1", True), limits=limits)
    assert found.trajectory["code_output_0"] == "(it printed nothing)"
    assert "all variables are gone" in found.trajectory["observation_1"]
    assert "NameError" in found.trajectory["observation_2"]


def test_a_long_trajectory_is_summed_up_and_given_back_whole(run):
    pieces = [piece(f"print('{number} ' + 'x' * 200)") for number in range(4)]
    summaries = []

    def summarise(text, most):
        summaries.append(text)
        return "Dull."

    found, lm = outcome(run, *pieces, piece("1", True), max_trajectory=800, summarise=summarise)
    assert "Earlier steps, summed up:\n  Dull." in asked(lm, len(lm.history) - 1)
    assert "Step 1" in summaries[0]
    assert found.trajectory["code_output_0"].startswith("0 x")


def test_its_predictors_have_dspys_names_and_fields():
    program = dspex.CodeAct("question -> answer", [look])
    fields = {path: part.signature.signature for path, part in program.named_predictors()}
    assert fields == {
        "codeact": "question, trajectory -> generated_code, finished",
        "extractor.predict": "question, trajectory -> reasoning, answer",
    }
    assert program.max_iters == 5


def test_a_spent_budget_in_a_tool_ends_the_run(run):
    ask = dspex.Tool(dspex.Predict("x -> y").acall, name="ask", desc="Asks.", args={"x": {"type": "string"}})
    lm = DummyLM([piece("try:\n    ask(x='1')\nexcept BaseException:\n    pass"), {"y": "2"}, ANSWER])
    with dspex.context(lm=lm), dspex.budget(calls=1), pytest.raises(dspex.BudgetExceeded):
        run(dspex.CodeAct("question -> answer", [ask]), question="?")
