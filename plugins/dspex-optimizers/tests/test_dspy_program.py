"""A program as a DSPy user writes it: bootstrapped on examples, saved, loaded, and measured before and after."""

from datetime import date, timedelta
from typing import Literal

import msgspec
import pytest

import dspex
from dspex.testing import DummyLM


class Route(dspex.Signature):
    """Send the ticket to the right team."""

    ticket: str = dspex.InputField()
    team: Literal["billing", "delivery"] = dspex.OutputField()


class Router(dspex.Module):
    def __init__(self):
        super().__init__()
        self.route = dspex.ChainOfThought(Route)

    def forward(self, ticket):
        return self.route(ticket=ticket)


def same_team(example, prediction, trace=None):
    return example.team == prediction.team


TICKETS = [("charge", "billing"), ("parcel", "delivery"), ("invoice", "billing"), ("courier", "delivery")]
TRAIN = [dspex.Example(ticket=f"The {word} is wrong", team=team).with_inputs("ticket") for word, team in TICKETS]
TEACHER = {word: {"reasoning": f"A {word}: {team}.", "team": team} for word, team in TICKETS}


@pytest.mark.parametrize("bootstrapped", [True, False], ids=["bootstrap", "labeled"])
def test_demos_are_found_kept_and_used(tmp_path, bootstrapped):
    student = Router()
    with dspex.context(lm=DummyLM(TEACHER)):
        if bootstrapped:
            optimizer = dspex.BootstrapFewShot(metric=same_team, max_bootstrapped_demos=2, max_labeled_demos=0)
            better = optimizer.compile(student, trainset=TRAIN)
        else:
            better = dspex.LabeledFewShot(k=2).compile(student=student, trainset=TRAIN, sample=False)
    [(name, predictor)] = better.named_predictors()
    assert (name, len(predictor.demos), student.route.predict.demos) == ("route.predict", 2, [])
    assert {demo.team for demo in predictor.demos} <= {"billing", "delivery"}

    better.save(str(tmp_path / "router.json"))
    loaded = Router()
    loaded.load(str(tmp_path / "router.json"))
    lm = DummyLM([{"reasoning": "r", "team": "delivery"}])
    with dspex.context(lm=lm):
        assert loaded(ticket="Where is it?").team == "delivery"
    prompt = lm.history[-1]["messages"]
    assert [message["role"] for message in prompt] == ["system", *["user", "assistant"] * 2, "user"]
    assert ("A charge: billing." in prompt[2]["content"]) is bootstrapped


def test_the_program_is_measured_before_and_after():
    evaluate = dspex.Evaluate(devset=TRAIN, metric=same_team, num_threads=2, display_progress=False)
    with dspex.context(lm=DummyLM(TEACHER)):
        better = dspex.BootstrapFewShot(metric=same_team, max_bootstrapped_demos=1).compile(Router(), trainset=TRAIN)
        assert evaluate(better).score == 100.0
    with dspex.context(lm=DummyLM([{"reasoning": "r", "team": "billing"}] * 4)):
        assert evaluate(Router()).score == 50.0


class Leg(msgspec.Struct):
    stops: list[str]
    until: date


class Delivery(dspex.Signature):
    """Say by how much the parcel is late."""

    due: date = dspex.InputField()
    leg: Leg = dspex.InputField()
    weight: float = dspex.InputField()
    late: timedelta = dspex.OutputField()


LATE = [
    dspex.Example(due=date(2024, 1, day), leg=Leg(["Bonn"], date(2024, 2, day)), weight=2, late=timedelta(days=day))
    for day in (1, 2)
]


@pytest.mark.parametrize(
    "optimizer", [dspex.LabeledFewShot(k=2), dspex.BootstrapFewShot()], ids=["labeled", "bootstrap"]
)
def test_demos_have_their_types_and_make_the_prompt_that_a_file_makes(tmp_path, optimizer):
    train = [example.with_inputs("due", "leg", "weight") for example in LATE]
    lm = DummyLM({"2024-02-01": {"late": "P1D"}, "2024-02-02": {"late": "P2D"}})
    with dspex.context(lm=lm):
        better = optimizer.compile(dspex.Predict(Delivery), trainset=train)
        found = sorted(better.demos, key=lambda demo: demo.due)
        assert [demo.copy(augmented=True) for demo in found] == [example.copy(augmented=True) for example in train]
        better.save(tmp_path / "late.json")
        for program in (better, dspex.Predict(Delivery).load(tmp_path / "late.json")):
            program(**train[0].inputs())
    assert lm.history[-1]["messages"] == lm.history[-2]["messages"]
