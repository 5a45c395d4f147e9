"""Refine: what a model advises after an attempt, and who is told of it."""

import json

import pytest

import dspex
from dspex.testing import DummyLM


def longest(inputs, prediction):
    """A longer answer is a better one."""
    return len(prediction.answer)


class Two(dspex.Module):
    def __init__(self):
        self.plan = dspex.Predict(dspex.Signature("question -> plan", "Plan it."))
        self.answer = dspex.ChainOfThought("question, plan -> answer")

    async def aforward(self, question):
        plan = await self.plan.acall(question=question)
        return await self.answer.acall(question=question, plan=plan.plan)


def advice(**texts):
    return {"discussion": "d", "advice": {name.replace("__", "."): text for name, text in texts.items()}}


def attempt(answer):
    return [{"plan": f"plan {answer}"}, {"reasoning": "r", "answer": answer}]


def prompts(lm):
    return [lm.get_convo(number)[0][-1]["content"] for number in range(len(lm.history))]


def test_the_next_attempt_is_told_by_predictor_and_the_module_stays_as_it_was(run):
    program = Two()
    before = program.dump_state()
    lm = DummyLM([*attempt("a"), advice(plan="N/A", answer__predict="Be longer."), *attempt("bbb")])
    with dspex.context(lm=lm):
        found = run(dspex.Refine(program, 2, longest, 3), question="?")
    assert found.answer == "bbb"
    plan, answer = prompts(lm)[3:]
    assert "hint_" not in plan
    assert "[[ ## hint_ ## ]]\nBe longer." in answer
    assert program.dump_state() == before
    assert all("hint_" not in prompt for prompt in prompts(lm)[:2])


def test_the_adviser_sees_calls_reward_and_docstring_and_no_source(run):
    lm = DummyLM([*attempt("a"), advice(), *attempt("bb")])
    with dspex.context(lm=lm):
        run(dspex.Refine(Two(), 2, longest, 5.0), question="the question")
    asked = prompts(lm)[2]
    for part in (
        "the question",
        "plan a",
        "answer.predict",
        "A longer answer is a better one.",
        "Plan it.",
        "\n1.0",
        "\n5.0",
    ):
        assert part in asked
    assert "return len(" not in asked
    assert "class Two" not in asked


def test_no_source_is_needed(run):
    names = {}
    exec("def reward(inputs, made):\n    return len(made.answer)", names)
    with dspex.context(lm=DummyLM([{"answer": "a"}, advice(), {"answer": "bb"}])):
        assert (
            run(dspex.Refine(dspex.Predict("question -> answer"), 2, names["reward"], None), question="?").answer
            == "bb"
        )


def test_advice_that_cannot_be_had_costs_no_attempt(run, provider):
    script = provider({"answer": "a"}, dspex.RateLimited("busy"), {"answer": "bb"})
    with dspex.context(lm=script.lm):
        assert run(dspex.Refine(dspex.Predict("question -> answer"), 2, longest, None), question="?").answer == "bb"


def test_after_the_last_attempt_no_advice_is_paid_for(run):
    lm = DummyLM([{"answer": "a"}, advice(self="More."), {"answer": "bb"}])
    with dspex.context(lm=lm):
        run(dspex.Refine(dspex.Predict("question -> answer"), 2, longest, 9), question="?")
    assert len(lm.history) == 3


def test_the_modules_own_lm_advises_where_there_is_no_other(run):
    lm = DummyLM([{"answer": "a"}, advice(self="More."), {"answer": "bb"}])
    program = dspex.Predict("question -> answer")
    program.lm = lm
    run(dspex.Refine(program, 2, longest, 9), question="?")
    assert "More." in prompts(lm)[2]


def test_demos_stay_whole_beside_a_hint(run):
    program = dspex.Predict("question -> answer")
    program.demos = [dspex.Example(question="1?", answer="one")]
    lm = DummyLM([{"answer": "a"}, advice(self="More."), {"answer": "bb"}])
    with dspex.context(lm=lm):
        run(dspex.Refine(program, 2, longest, 9), question="?")
    demo = lm.get_convo(2)[0][1]["content"]
    assert demo.startswith("[[ ## question ## ]]\n1?")
    assert program.demos == [dspex.Example(question="1?", answer="one")]


def test_one_refine_in_another_gives_both_hints(run):
    inner = dspex.Refine(dspex.Predict("question -> answer"), 2, longest, 99)
    said = [
        *({"answer": "a"}, advice(self="Inner one."), {"answer": "b"}),
        advice(module="Outer."),
        *({"answer": "c"}, advice(self="Inner two."), {"answer": "dd"}),
    ]
    lm, trace = DummyLM(said), []
    with dspex.context(lm=lm, trace=trace):
        assert run(dspex.Refine(inner, 2, longest, 99), question="?").answer == "dd"
    assert "Outer." in prompts(lm)[4]
    assert "Outer.\nInner two." in prompts(lm)[6]
    assert [(part, given) for part, given, _ in trace] == [(inner.module, {"question": "?"})]


def test_what_has_no_form_in_json_is_shown_by_its_repr(run):
    class Odd(dspex.Module):
        async def aforward(self, thing):
            return dspex.Prediction(answer="a", thing=thing)

    lm = DummyLM([advice()])
    with dspex.context(lm=lm):
        run(dspex.Refine(Odd(), 2, longest, None), thing=object)
    assert "<class 'object'>" in prompts(lm)[0]


def test_it_saves_as_the_module_within(tmp_path):
    program = dspex.Refine(Two(), 2, longest, 3)
    program.save(tmp_path / "p.json")
    assert set(json.loads((tmp_path / "p.json").read_text())) == {"module.plan", "module.answer.predict", "metadata"}


@pytest.mark.parametrize("said", ["N/A", "", " none ", "n/a"])
def test_a_part_that_did_well_is_told_nothing(run, said):
    lm = DummyLM([{"answer": "a"}, advice(self=said), {"answer": "bb"}])
    with dspex.context(lm=lm):
        run(dspex.Refine(dspex.Predict("question -> answer"), 2, longest, 9), question="?")
    assert "hint_" not in prompts(lm)[2]
