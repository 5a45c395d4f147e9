"""Small helpers that programs and suites import from DSPy's own modules."""

import copy

import pytest

import dspex
from dspex.datasets import Dataset
from dspex.dsp.utils import deduplicate, dotdict
from dspex.primitives.module import set_attribute_by_name
from dspex.testing import DummyLM
from dspex.utils import magicattr
from dspex.utils.parallelizer import ParallelExecutor


def test_a_dotdict_has_its_keys_as_attributes():
    passage = dotdict(long_text="so", score=1.0)
    passage.score += 1
    del passage.long_text
    assert copy.deepcopy(passage) == {"score": 2.0}
    for lacking in (lambda: passage.long_text, lambda: delattr(passage, "long_text")):
        with pytest.raises(AttributeError, match="long_text"):
            lacking()


def test_hops_that_find_a_passage_twice_keep_it_at_its_first_place():
    assert deduplicate(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]


class Part:
    def __init__(self):
        self.inner = dspex.Predict("question -> answer")
        self.held = [0, {"key": [1, 2]}]
        self.me = self


PATHS = [("held[0]", 0), ("held[-1]", {"key": [1, 2]}), ("held[1]['key'][-2]", 1), ("me.me.held[1]['key']", [1, 2])]


@pytest.mark.parametrize(("path", "value"), PATHS)
def test_a_path_leads_to_attributes_and_items(path, value):
    part = Part()
    assert magicattr.get(part, path) == value
    magicattr.set(part, path, "new")
    assert magicattr.get(part, path) == "new"


def test_a_part_of_a_program_is_set_by_its_path():
    part = Part()
    set_attribute_by_name(part, "me.inner.demos", [{"question": "a", "answer": "b"}])
    assert len(part.inner.demos) == 1
    magicattr.delete(part, "held[0]")
    magicattr.delete(part, "me.inner")
    assert part.held == [{"key": [1, 2]}]
    assert magicattr.get(part, "inner", default=3) == magicattr.get(part, "held[9]", default=3) == 3


NO_PATHS = [
    ("  ", ValueError),
    ("held.pop(0)", ValueError),
    ("held = []", ValueError),
    ("held..x", SyntaxError),
    ("held[len(held)]", NotImplementedError),
    ("held[0+1]", NotImplementedError),
    (3, TypeError),
    ("nothing", AttributeError),
    ("held[9]", IndexError),
    ("held[1]['no']", KeyError),
]


@pytest.mark.parametrize(("path", "kind"), NO_PATHS)
def test_what_is_no_path_or_leads_nowhere_is_an_error_and_nothing_is_run(path, kind):
    part = Part()
    with pytest.raises(kind):
        magicattr.get(part, path)
    assert len(part.held) == 2


def halved(number):
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


@pytest.mark.parametrize("num_threads", [1, 3])
def test_an_executor_says_which_items_failed_and_how(num_threads):
    executor = ParallelExecutor(num_threads=num_threads, disable_progress_bar=True, max_errors=3, timeout=0)
    assert executor.execute(halved, iter([2, 3, 4, 5])) == [1, None, 2, None]
    assert executor.failed_indices == [1, 3]
    assert {place: str(error) for place, error in executor.exceptions_map.items()} == {1: "3 is odd", 3: "5 is odd"}
    assert executor.execute(halved, [8]) == [4]
    assert executor.failed_indices == []
    with pytest.raises(dspex.EvaluationError, match="is odd"):
        ParallelExecutor(num_threads=num_threads, max_errors=1).execute(halved, [2, 3, 4])


def test_an_executors_function_sees_the_settings_around_it():
    with dspex.context(lm=DummyLM([{"answer": "yes"}] * 3)):
        ask = dspex.Predict("question -> answer")
        found = ParallelExecutor(num_threads=2).execute(lambda question: ask(question=question).answer, ["a", "b", "c"])
    assert found == ["yes"] * 3


class Colours(Dataset):
    def __init__(self, **given):
        super().__init__(input_keys=["name"], **given)
        self._train = [{"name": f"c{number}", "warm": number} for number in range(20)]
        self._dev = [dspex.Example(row, dspy_split="old") for row in self._train]


def test_a_data_set_of_one_s_own_is_shuffled_cut_and_knows_its_inputs():
    data = Colours(train_seed=1, train_size=5)
    names = [example.name for example in data.train]
    assert data.train is data.train
    assert data.train[0].inputs().keys() == ["name"]
    assert {example.dspy_split for example in data.dev} == {"dev"}
    assert len({example.dspy_uuid for example in data.dev}) == 20
    assert (
        names == [example.name for example in Colours(train_seed=1).train[:5]] != [f"c{number}" for number in range(5)]
    )
    data.reset_seeds(train_seed=2, dev_size=3)
    assert [example.name for example in data.train] != names
    assert (len(data.train), len(data.dev), data.name) == (5, 3, "Colours")


def test_a_data_set_may_keep_its_order():
    data = Colours(dev_size=2)
    data.do_shuffle = False
    assert [example.name for example in data.dev] == ["c0", "c1"]
