"""Metrics that ask a model: their own LM, their own budget, and their own account."""

import pytest

from dspex.app.accounting import budget
from dspex.app.current import context
from dspex.app.lm import LM
from dspex.core.errors import BudgetExceeded
from dspex.core.example import Example, Prediction
from dspex.core.messages import LMResponse, Passage
from dspex.core.usage import Budget, Usage
from dspex.evaluate.evaluate import Evaluate
from dspex.evaluate.judges import CompleteAndGrounded, SemanticF1
from dspex.program.chain_of_thought import ChainOfThought
from dspex.program.module import Module
from dspex.program.predict import Predict


class Answering:
    """A provider that answers all fields alike and counts ten tokens in, two out."""

    def __init__(self, text: str) -> None:
        self.text, self.asked = text, []

    async def complete(self, request):
        self.asked.append(request)
        return LMResponse.from_text(self.text, Usage(10, 2))


def lm_of(provider: Answering, name: str = "m") -> LM:
    return LM(f"own/{name}", provider=provider, cache=False, num_retries=0)


def reply(**fields) -> str:
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in {"reasoning": "so", **fields}.items())


EXAMPLE = Example(question="Why?", response="Because of rain and wind.").with_inputs("question")
ANSWER = Prediction(response="Because of rain.", context=["It rained.", Passage(text="It blew.")])
IDEAS = {"ground_truth_key_ideas": "a", "system_response_key_ideas": "b", "discussion": "c"}


@pytest.mark.parametrize(("recall", "precision", "score"), [(0.5, 1, 2 / 3), (0, 0, 0), (7, 1, 1), (-1, 1, 0)])
@pytest.mark.parametrize("decompositional", [False, True])
def test_semantic_f1_is_the_harmonic_mean_of_recall_and_precision(decompositional, recall, precision, score):
    judge = SemanticF1(decompositional=decompositional)
    judge.set_lm(lm_of(Answering(reply(**IDEAS, recall=recall, precision=precision))))
    found = judge(EXAMPLE, ANSWER)
    assert found.score == pytest.approx(score)
    assert isinstance(found, Prediction)


@pytest.mark.parametrize(("threshold", "passed"), [(0.66, True), (0.67, False)])
def test_in_a_bootstrap_a_judge_says_whether_its_threshold_is_reached(threshold, passed):
    judge = SemanticF1(threshold)
    judge.set_lm(lm_of(Answering(reply(recall=0.5, precision=1))))
    assert judge(EXAMPLE, ANSWER, trace=[]).score is passed


async def test_complete_and_grounded_asks_two_judges_and_shows_the_passages():
    complete = Answering(reply(**IDEAS, completeness=0.5))
    grounded = Answering(reply(system_response_claims="d", discussion="e", groundedness=1))
    judge = CompleteAndGrounded()
    judge.completeness_module.set_lm(lm_of(complete))
    judge.groundedness_module.set_lm(lm_of(grounded))
    assert (await judge.acall(EXAMPLE, ANSWER)).score == pytest.approx(2 / 3)
    assert "rain and wind" in complete.asked[0].messages[-1].text
    shown = grounded.asked[0].messages[-1].text
    assert "It rained." in shown
    assert "[2] It blew." in shown
    assert "rain and wind" not in shown


def test_a_judges_predictors_are_found_like_any_programs():
    assert [path for path, _ in CompleteAndGrounded().named_predictors()] == [
        "completeness_module.predict",
        "groundedness_module.predict",
    ]
    assert isinstance(SemanticF1().module, ChainOfThought)


class Judge(Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = Predict("text -> good: bool")

    async def aforward(self, example, prediction, trace=None):
        return Prediction(score=(await self.ask.acall(text=prediction.answer)).good)


class SyncJudge(Judge):
    def forward(self, example, prediction, trace=None):
        return Prediction(score=self.ask(text=prediction.answer).good)

    aforward = None


@pytest.fixture
def models():
    """The program's and the judge's provider."""
    return Answering("[[ ## answer ## ]]\n4"), Answering("[[ ## good ## ]]\ntrue")


@pytest.mark.parametrize("judge", [Judge(), SyncJudge()], ids=["async", "sync"])
def test_a_judge_has_its_own_model_and_account(run, questions, models, judge):
    asked, judging = models
    with context(lm=lm_of(asked, "program"), prices={"own/judge": (1e6, 0)}):
        result = run(Evaluate(questions(4), judge, judge_lm=lm_of(judging, "judge")), Predict("question -> answer"))
    assert (result.score, len(asked.asked), len(judging.asked)) == (100.0, 4, 4)
    assert result.program_usage == Usage(40, 8, calls=4)
    assert result.judge_usage == Usage(40, 8, calls=4, usd=40.0)
    assert result.usage == Usage(80, 16, calls=8, usd=40.0)
    assert all((row.usage.calls, row.judge_usage.calls) == (1, 1) for row in result.rows)


def test_without_a_model_of_its_own_a_judge_asks_the_settings(run, questions, models):
    with context(lm=lm_of(models[1])):
        assert run(Evaluate(questions(2), Judge()), Fixed()).score == 100.0


class Fixed:
    async def acall(self, question):
        return Prediction(answer=question)


@pytest.mark.parametrize("whose", ["judge", "all", "app"])
def test_a_wall_ends_the_evaluation_and_keeps_what_was_scored(run, own_app, questions, models, whose):
    """A row that could not be paid is no 0: it would be a false score."""
    asked, judging = models
    own = Budget(calls=3) if whose == "judge" else None
    evaluate = Evaluate(questions(9), Judge(), judge_lm=lm_of(judging), judge_budget=own, num_threads=1)
    own_app.configure(budget=Budget(calls=6) if whose == "app" else None)
    with (
        context(lm=lm_of(asked)),
        budget(calls=6 if whose == "all" else None),
        pytest.raises(BudgetExceeded) as caught,
    ):
        run(evaluate, Predict("question -> answer"))
    assert [score for _, _, score in caught.value.results] == [1.0] * 3
    assert len(judging.asked) == 3


def test_a_budget_that_a_program_opens_for_each_example_is_the_examples_own_failure(run, questions, models):
    inner = Predict("question -> answer")

    class Thrifty(Module):
        async def aforward(self, question):
            with budget(calls=int(question)):
                return await inner.acall(question=question)

    with context(lm=lm_of(models[0])):
        result = run(Evaluate(questions(3), lambda example, prediction: 1), Thrifty())
    assert [row.index for row in result.failures] == [0]


def test_a_failed_example_still_says_what_it_paid(run, questions, models):
    def raising(example, prediction):
        raise LookupError

    with context(lm=lm_of(models[0])):
        result = run(Evaluate(questions(2), raising), Predict("question -> answer"))
    assert [row.usage.calls for row in result.failures] == [1, 1]
