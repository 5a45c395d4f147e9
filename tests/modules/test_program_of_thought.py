"""ProgramOfThought: an answer worked out by a program that the model writes."""

import pytest

import dspex
from dspex.plugin import Output
from dspex.testing import DummyLM

ANSWER = {"reasoning": "r", "answer": "42"}

pytestmark = pytest.mark.usefixtures("sandbox")


def code(text):
    return {"reasoning": "r", "generated_code": text}


def outcome(run, *replies, program=None):
    lm = DummyLM([*replies, ANSWER])
    with dspex.context(lm=lm):
        return run(program or dspex.ProgramOfThought("question -> answer"), question="6*7?"), lm


def asked(lm, number, field):
    """What a prompt says in a field."""
    text = lm.get_convo(number)[0][-1]["content"]
    return text.split(f"[[ ## {field} ## ]]\n")[1].split("\n\n[[")[0].split("\n\nReply")[0]


@pytest.mark.parametrize(
    ("program", "output"),
    [
        ("SUBMIT({'answer': 6 * 7})", '{"answer":42}'),
        ("SUBMIT(answer=6 * 7)", '{"answer":42}'),
        ("SUBMIT(6 * 7)", '{"answer":42}'),
        ("for _ in range(2):\n    try:\n        SUBMIT(1)\n    except BaseException:\n        pass", '{"answer":1}'),
        ("```python\nSUBMIT(6 * 7)\n```", '{"answer":42}'),
        ("So:\n\n```python\n6 * 7\n```\n\nThat is it.", "42"),
        ("a = 6\nresult = a * 7", "42"),
        ("a = 6 == 6", "true"),
        ("print(6 * 7)", "42"),
        ("[1, 'a']", '[1,"a"]'),
    ],
)
def test_what_the_program_gives_is_what_the_answer_is_made_of(run, program, output):
    found, lm = outcome(run, code(program))
    assert found.answer == "42"
    assert asked(lm, 1, "code_output").rstrip("\n") == output
    assert "6*7?" in asked(lm, 1, "question")
    assert len(lm.history) == 2


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("x = (", "SyntaxError"),
        ("", "there is no code in it"),
        ("```python\n1\n```\n\n```python\n2\n```", "expected one block of code, got 2"),
        ("pass", "The program gave nothing"),
        ("SUBMIT()", "SUBMIT takes answer; it was given nothing"),
        ("SUBMIT(1, 2)", "it was given 2 values"),
        ("SUBMIT(other=1)", "SUBMIT takes answer; it was given other"),
    ],
)
def test_a_program_that_fails_is_written_anew_with_its_error(run, program, error):
    found, lm = outcome(run, code(program), code("SUBMIT(42)"))
    assert found.answer == "42"
    assert error in asked(lm, 1, "error")
    assert asked(lm, 1, "previous_code") in program
    assert asked(lm, 2, "final_generated_code") == "SUBMIT(42)"


@pytest.mark.parametrize("max_iters", [1, 3])
def test_when_no_program_ends_well_the_last_error_is_raised(run, max_iters):
    lm = DummyLM([code("1 / 0")] * 5)
    program = dspex.ProgramOfThought("question -> answer", max_iters=max_iters)
    with dspex.context(lm=lm), pytest.raises(dspex.CodeError, match="ZeroDivisionError") as caught:
        run(program, question="?")
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.code == "1 / 0"
    assert len(lm.history) == max_iters


def test_a_reply_that_cannot_be_read_is_one_program_that_failed(run, provider):
    script = provider("no fields", "no fields", code("SUBMIT(42)"), ANSWER)
    with dspex.context(lm=script.lm):
        assert run(dspex.ProgramOfThought("question -> answer"), question="?").answer == "42"
    assert "That reply could not be read" in script.asked[2].messages[-1].text


def test_its_predictors_have_dspys_names_and_fields():
    program = dspex.ProgramOfThought("question -> answer")
    fields = {path: part.signature.signature for path, part in program.named_predictors()}
    assert fields == {
        "code_generate.predict": "question -> reasoning, generated_code",
        "code_regenerate.predict": "question, previous_code, error -> reasoning, generated_code",
        "generate_output.predict": "question, final_generated_code, code_output -> reasoning, answer",
    }
    assert program.max_iters == 3


def test_each_prompt_has_the_task_and_what_is_special_to_the_sandbox(run):
    signature = dspex.Signature("question -> answer", "Count the letters.")
    _, lm = outcome(run, code("1 / 0"), code("1"), program=dspex.ProgramOfThought(signature))
    systems = [lm.get_convo(number)[0][0]["content"] for number in range(3)]
    assert all("Count the letters." in system for system in systems)
    assert ["There is no network." in system for system in systems] == [True, True, False]


def test_the_code_has_its_limits(run):
    class Keeps:
        async def run(self, code, *, files=None, tools=None, limits=None):
            self.limits = limits
            return Output(value=1)

    keeps, limits = Keeps(), dspex.SandboxLimits(seconds=2)
    outcome(run, code("1"), program=dspex.ProgramOfThought("question -> answer", sandbox=keeps, limits=limits))
    assert keeps.limits == limits


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dspex.ProgramOfThought("error -> answer"), "has a 'error' of its own"),
        (lambda: dspex.ProgramOfThought("question -> answer", max_iters=0), "at least once"),
        (lambda: dspex.CodeAct("trajectory -> answer", []), "has a 'trajectory' of its own"),
        (lambda: dspex.CodeAct("question -> answer", [], max_iters=-1), "at least 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_it_is_made(make, words):
    with pytest.raises(dspex.ConfigurationError, match=words):
        make()
