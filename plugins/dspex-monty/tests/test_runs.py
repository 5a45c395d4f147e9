"""A run of CodeAct that goes on, in Monty: what earlier pieces defined is there, and no tool is called again."""

import pytest

import dspex
from dspex.testing import DummyLM, reset

PIECES = [
    {"generated_code": "costs = [price('pen'), price('ink')]", "finished": False},
    {"generated_code": "def twice(x):\n    return 2 * x\ntwice(sum(costs))", "finished": False},
    {"generated_code": "print(twice(3), costs)", "finished": True},
    {"reasoning": "r", "answer": "11"},
]


@pytest.fixture(autouse=True)
def an_app_of_its_own():
    yield
    reset()


class Shop:
    def __init__(self):
        self.asked = []

    def price(self, item: str) -> float:
        self.asked.append(item)
        return {"pen": 1.5, "ink": 4.0}[item]


def test_a_run_that_is_stopped_twice_ends_as_one_that_was_not(tmp_path):
    shop = Shop()
    buyer = dspex.CodeAct("question -> answer: float", [shop.price], sandbox="monty")
    for place in (0, 1):
        with dspex.context(lm=DummyLM(PIECES[place:])), dspex.budget(calls=1), pytest.raises(dspex.BudgetExceeded):
            buyer(question="?", run_dir=tmp_path / "stopped")
    with dspex.context(lm=DummyLM(PIECES[2:])):
        found = buyer(question="?", run_dir=tmp_path / "stopped")
    assert shop.asked == ["pen", "ink"]
    with dspex.context(lm=DummyLM(PIECES)):
        assert buyer(question="?").toDict() == found.toDict()
