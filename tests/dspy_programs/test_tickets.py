"""A program as a DSPy user writes it: tickets into classes, measured, saved and loaded."""

from typing import Literal

import dspex
from dspex.evaluate import Evaluate
from dspex.testing import DummyLM

TEAMS = Literal["billing", "delivery", "other"]
TICKETS = [
    ("I was charged twice", "billing"),
    ("The parcel is lost", "delivery"),
    ("Where is my invoice?", "billing"),
    ("I like your shop", "other"),
]
DATA = [dspex.Example(ticket=ticket, team=team).with_inputs("ticket") for ticket, team in TICKETS]


class Route(dspex.Signature):
    """Send the ticket to the right team."""

    ticket: str = dspex.InputField()
    team: TEAMS = dspex.OutputField()
    sure: bool = dspex.OutputField(desc="False if another team may be right")


class Router(dspex.Module):
    def __init__(self):
        super().__init__()
        self.route = dspex.Predict(Route)

    def forward(self, ticket):
        found = self.route(ticket=ticket)
        return found if found.sure else dspex.Prediction(team="other", sure=False)


def same_team(example, prediction, trace=None):
    return example.team == prediction.team


def graded(example, prediction, trace=None):
    right = example.team == prediction.team
    return dspex.Prediction(score=1.0 if right else 0.25, feedback="right" if right else f"it was {example.team}")


ANSWERS = {
    "charged": {"team": "billing", "sure": "True"},
    "parcel": {"team": "delivery", "sure": "True"},
    "invoice": {"team": "delivery", "sure": "True"},
    "shop": {"team": "billing", "sure": "False"},
}


def test_the_program_is_measured_in_per_cent():
    dspex.configure(lm=DummyLM(ANSWERS))
    evaluate = Evaluate(devset=DATA, metric=same_team, num_threads=2, display_progress=False)
    result = evaluate(Router())
    assert result.score == 75.0
    assert [(example.team, prediction.team, score) for example, prediction, score in result.results][2] == (
        "billing",
        "delivery",
        False,
    )


def test_a_metric_may_answer_with_a_prediction():
    dspex.configure(lm=DummyLM(ANSWERS))
    assert Evaluate(devset=DATA, metric=graded, num_threads=1)(Router()).score == 81.25


def test_demos_go_into_the_prompt_and_come_back_from_a_file(tmp_path):
    router = Router()
    router.route.demos = [dspex.Example(ticket="My bill is wrong", team="billing", sure=True)]
    router.route.signature = router.route.signature.with_instructions("Choose a team.")
    router.save(tmp_path / "router.json")
    again = Router()
    again.load(tmp_path / "router.json")
    assert again.route.signature.instructions == "Choose a team."
    lm = DummyLM(ANSWERS)
    with dspex.context(lm=lm):
        assert again(ticket="charged").team == "billing"
    system, asked, answered, _ = lm.history[-1]["messages"]
    assert "Choose a team." in system["content"]
    assert "My bill is wrong" in asked["content"]
    assert "billing" in answered["content"]


def test_a_copy_is_its_own_program():
    router = Router()
    twin = router.deepcopy()
    twin.route.demos.append(DATA[0])
    assert (len(router.route.demos), len(twin.route.demos), len(twin.reset_copy().route.demos)) == (0, 1, 0)
