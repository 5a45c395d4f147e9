"""A run of CodeAct that goes on, in Monty: what earlier pieces defined is there, and no tool is called again."""

import hashlib
import json

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


class Heard(dspex.BaseCallback):
    """The pieces of code that were run."""

    def __init__(self):
        self.ran = []

    def on_interpreter_execute_start(self, call_id, instance, inputs):
        self.ran.append(inputs["code"])


def stopped_after_two(folder, shop):
    buyer = dspex.CodeAct("question -> answer: float", [shop.price], sandbox="monty")
    with dspex.context(lm=DummyLM(PIECES)), dspex.budget(calls=2), pytest.raises(dspex.BudgetExceeded):
        buyer(question="?", run_dir=folder)
    return buyer


def goes_on(buyer, folder):
    heard = Heard()
    with dspex.context(lm=DummyLM(PIECES[2:]), callbacks=[heard]):
        found = buyer(question="?", run_dir=folder)
    assert found.trajectory["code_output_2"] == "6 [1.5, 4.0]"
    return heard.ran


def test_finished_code_is_not_run_again(tmp_path):
    shop = Shop()
    assert goes_on(stopped_after_two(tmp_path / "run", shop), tmp_path / "run") == ["print(twice(3), costs)"]
    assert shop.asked == ["pen", "ink"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(b"{}"),
        lambda file: file.write_bytes(b""),
    ],
    ids=["gone", "cut", "no head", "empty"],
)
def test_variables_that_cannot_be_read_are_made_again(tmp_path, damage):
    shop = Shop()
    buyer = stopped_after_two(tmp_path / "run", shop)
    damage(tmp_path / "run" / "variables.bin")
    assert len(goes_on(buyer, tmp_path / "run")) == 3
    assert shop.asked == ["pen", "ink"]


def test_variables_of_another_version_are_made_again(tmp_path):
    buyer = stopped_after_two(tmp_path / "run", Shop())
    file = tmp_path / "run" / "variables.bin"
    head, _, state = file.read_bytes().partition(b"\n")
    other = b"monty 0.0.1\n" + state.partition(b"\n")[2]
    known = hashlib.blake2b(other, digest_size=16).hexdigest()
    file.write_bytes(json.dumps([json.loads(head)[0], known]).encode() + b"\n" + other)
    assert len(goes_on(buyer, tmp_path / "run")) == 3


def test_a_function_in_a_variable_is_there_again(tmp_path):
    shop = Shop()
    pieces = [{"generated_code": "ask = price\nask('pen')", "finished": False}, PIECES[2], PIECES[3]]
    pieces[1] = {"generated_code": "ask('ink')", "finished": True}
    buyer = dspex.CodeAct("question -> answer: float", [shop.price], sandbox="monty")
    with dspex.context(lm=DummyLM(pieces)), dspex.budget(calls=1), pytest.raises(dspex.BudgetExceeded):
        buyer(question="?", run_dir=tmp_path / "run")
    with dspex.context(lm=DummyLM(pieces[1:])):
        found = buyer(question="?", run_dir=tmp_path / "run")
    assert found.trajectory["code_output_1"] == "4.0"
    assert shop.asked == ["pen", "ink"]


def test_a_reader_of_long_inputs_goes_on_without_them_being_put_in_again(tmp_path):
    reader = dspex.RLM("text -> answer: int", sandbox="monty")
    said = [
        {"reasoning": "r", "code": "lines = text.split()"},
        {"reasoning": "r", "code": "SUBMIT(answer=len(lines) + len(text))"},
    ]
    text = "word " * 1_000
    with dspex.context(lm=DummyLM(said)), dspex.budget(calls=1), pytest.raises(dspex.BudgetExceeded):
        reader(text=text, run_dir=tmp_path / "run")
    heard = Heard()
    with dspex.context(lm=DummyLM(said[1:]), callbacks=[heard]):
        assert reader(text=text, run_dir=tmp_path / "run").answer == 6_000
    assert len(heard.ran) == 1
