"""RLM: inputs too long for a prompt are variables of code that the model writes."""

import logging

import pytest

import dspex
from dspex.testing import DummyLM

pytestmark = pytest.mark.usefixtures("sandbox")

TEXT = "\n".join(f"line {number}" for number in range(1000)) + "\nthe key is 42"


def piece(code, reasoning="r"):
    return {"reasoning": reasoning, "code": code}


def program(signature="text, question -> answer: int", **options):
    return dspex.RLM(signature, **options)


def outcome(run, *replies, of=None, text=TEXT, **options):
    lm = DummyLM(list(replies))
    with dspex.context(lm=lm):
        return run(of or program(**options), text=text, question="key?"), lm


def prompts(lm):
    return [lm.get_convo(number)[0][-1]["content"] for number in range(len(lm.history))]


def test_code_looks_into_the_inputs_and_submits_what_it_found(run):
    found, lm = outcome(
        run,
        piece("lines = text.split('\\n')\nlen(lines)", "How long?"),
        piece("print(lines[-1])", "The end."),
        piece("SUBMIT(int(lines[-1].split()[-1]))", "That is it."),
    )
    assert found.answer == 42
    assert found.final_reasoning == "That is it."
    assert found.trajectory == [
        {"reasoning": "How long?", "code": "lines = text.split('\\n')\nlen(lines)", "output": "1001"},
        {"reasoning": "The end.", "code": "print(lines[-1])", "output": "the key is 42"},
        {
            "reasoning": "That is it.",
            "code": "SUBMIT(int(lines[-1].split()[-1]))",
            "output": 'SUBMIT: {"answer":42}',
        },
    ]
    first, _, last = prompts(lm)
    assert "- `text`: str, 8903 characters. It begins:\n  line 0" in first
    assert "line 500" not in first
    assert "3/20" in last
    assert "output: the key is 42" in last


def test_its_predictors_have_dspys_names_and_fields():
    fields = {path: part.signature.signature for path, part in program().named_predictors()}
    assert fields == {
        "generate_action": "variables_info, repl_history, iteration -> reasoning, code",
        "extract": "variables_info, repl_history -> answer",
    }
    made = program()
    assert (made.max_iters, made.max_llm_calls, made.max_output_chars, made.verbose) == (20, 50, 10_000, False)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("SUBMIT('many')", "field `answer`: expected an integer, got 'many'"),
        ("SUBMIT()", "SUBMIT takes answer; it was given nothing"),
        ("SUBMIT({'answer': 1, 'other': 2}, 3)", "it was given 2 values"),
        ("1 / 0", "ZeroDivisionError"),
        ("", "there is no code in it"),
    ],
)
def test_what_does_not_fit_is_told_and_the_work_goes_on(run, code, words):
    found, lm = outcome(run, piece(code), piece("SUBMIT({'answer': '42'})"))
    assert found.answer == 42
    assert words in found.trajectory[0]["output"]
    assert words in prompts(lm)[1]


def test_where_nothing_is_submitted_the_outputs_are_made_of_the_steps(run):
    found, lm = outcome(run, piece("1"), piece("2"), {"answer": "41"}, max_iters=2)
    assert found.answer == 41
    assert [step["output"] for step in found.trajectory] == ["1", "2"]
    assert "max_iters" in found.final_reasoning
    assert "Step 2" in prompts(lm)[-1]


def test_code_asks_models_about_parts(run):
    code = "a = llm_query('What is ' + text[-2:] + '?')\nb = llm_query_batched(['one', 'two'])\n[a, *b]"
    sub = DummyLM([{"text": "forty-two"}, {"text": "1"}, {"text": "2"}])
    found, lm = outcome(run, piece(code), piece("SUBMIT(42)"), sub_lm=sub)
    replies = found.trajectory[0]["output"]
    assert all(word in replies for word in ("forty-two", "1", "2"))
    assert sub.get_convo(0)[0][-1]["content"] == "What is 42?"
    assert len(sub.history) == 3
    assert len(lm.history) == 2


@pytest.mark.parametrize("code", ["[llm_query('a') for _ in range(3)]", "llm_query_batched(['a', 'b', 'c'])"])
def test_models_are_asked_so_often_and_no_more(run, code):
    sub = DummyLM([{"text": "1"}] * 9)
    found, _ = outcome(run, piece(code), piece("SUBMIT(42)"), sub_lm=sub, max_llm_calls=2)
    assert "At most 2 calls of models are allowed" in found.trajectory[0]["output"]
    assert len(sub.history) <= 2


def test_a_model_that_fails_is_told_of_alone(run, provider):
    script = provider(dspex.RateLimited("busy"), "fine", dspex.RateLimited("busy"))
    code = "print(llm_query_batched(['a', 'b']))\nllm_query('c')"
    found, _ = outcome(run, piece(code), piece("SUBMIT(42)"), sub_lm=script.lm)
    output = found.trajectory[0]["output"]
    assert "[ERROR]" in output
    assert "fine" in output
    assert "llm_query failed" in output


def test_a_key_that_is_refused_ends_the_run(run, provider):
    script = provider(dspex.AuthError("no key"))
    with pytest.raises(dspex.AuthError):
        outcome(run, piece("try:\n    llm_query('a')\nexcept BaseException:\n    pass"), sub_lm=script.lm)


def test_inputs_come_back_when_a_limit_took_the_variables(run):
    limits = dspex.SandboxLimits(seconds=0.1)
    codes = ["x = 1", "while True:\n    pass", "x", "SUBMIT(int(text[-2:]))"]
    found, _ = outcome(run, *map(piece, codes), limits=limits)
    assert "all variables are gone" in found.trajectory[1]["output"]
    assert "NameError" in found.trajectory[2]["output"]
    assert found.answer == 42


def test_inputs_of_any_type_are_data(run):
    class Page:
        def __str__(self):
            return "a page"

    codes = ["[rows[1]['n'], sorted(kinds), page]", "SUBMIT(rows)"]
    lm = DummyLM(list(map(piece, codes)))
    rlm = dspex.RLM("rows: list[dict], kinds, page -> answer: list[dict]")
    with dspex.context(lm=lm, warn_on_type_mismatch=False):
        found = run(rlm, rows=[{"n": 1}, {"n": 2}], kinds={"a", "b"}, page=Page())
    assert found.trajectory[0]["output"] == '[2,["a","b"],"a page"]'
    assert found.answer == [{"n": 1}, {"n": 2}]
    assert "- `rows`: list, 2 items" in prompts(lm)[0]


def test_tools_and_what_is_special_to_the_sandbox_are_told(run):
    def look(word: str) -> str:
        """Looks a word up."""
        return word * 2

    found, lm = outcome(run, piece("look('a')"), piece("SUBMIT(1)"), tools=[look])
    assert found.trajectory[0]["output"] == "aa"
    system = lm.get_convo(0)[0][0]["content"]
    assert "- `look(word: string)`: Looks a word up." in system
    assert "There is no network." in system
    assert "- `answer` (int)" in system


def test_a_long_output_is_cut(run):
    found, _ = outcome(run, piece("print('x' * 500)"), piece("SUBMIT(1)"), max_output_chars=100)
    assert found.trajectory[0]["output"] == "x" * 100 + "\n(more was cut)"


@pytest.mark.parametrize("given", [{"text": "a"}, {"text": "a", "question": "b", "other": "c"}])
def test_missing_and_unknown_inputs_are_refused_before_any_call(run, provider, given):
    script = provider()
    with dspex.context(lm=script.lm), pytest.raises(dspex.InputError):
        run(program(), **given)
    assert not script.asked


def test_verbose_logs_each_turn(run, caplog):
    with caplog.at_level(logging.INFO, "dspex.rlm"):
        outcome(run, piece("1", "Look."), piece("SUBMIT(1)"), verbose=True)
        outcome(run, piece("SUBMIT(1)", "Silent."))
    assert "Look." in caplog.text
    assert "Silent." not in caplog.text


def look_again(word: str) -> str:
    """Looks."""
    return word


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dspex.RLM("print -> answer"), "'print' of its own"),
        (lambda: dspex.RLM("text -> trajectory"), "'trajectory' of its own"),
        (lambda: dspex.RLM("look_again -> answer", tools=[look_again]), "'look_again' of its own"),
        (
            lambda: dspex.RLM("text -> answer", tools=[dspex.Tool(look_again, name="llm_query")]),
            "'llm_query' of its own",
        ),
        (lambda: dspex.RLM("text -> answer", tools=[dspex.Tool(look_again, name="a.b")]), "cannot be called in code"),
        (lambda: dspex.RLM("text -> answer", tools=[dspex.Tool(look_again, name="for")]), "cannot be called in code"),
        (lambda: dspex.RLM("text -> answer", max_output_chars=0), "max_output_chars is at least 1"),
    ],
)
def test_names_that_are_taken_are_refused_when_it_is_made(make, words):
    with pytest.raises(dspex.ConfigurationError, match=words):
        make()
