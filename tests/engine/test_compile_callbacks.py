"""Callbacks hear of a compile: its optimizer, what it was given, and the program or the error that came of it."""

import pytest

import dspex


class Seen(dspex.BaseCallback):
    def __init__(self):
        self.told = []

    async def on_compile_start(self, call_id, instance, inputs):
        self.told.append((call_id, instance, inputs))

    def on_compile_end(self, call_id, outputs, exception=None):
        self.told.append((call_id, outputs, exception))


async def test_a_compile_is_told_of(lab, app, tmp_path):
    seen, optimizer = Seen(), lab.Search()
    dspex.configure(callbacks=[seen])
    program = await lab.compiled(lab.Model(), optimizer=optimizer, run_dir=tmp_path / "run", **lab.SMALL)
    (first, instance, inputs), (last, outputs, error) = seen.told
    assert first == last
    assert instance is optimizer
    assert {"student", "trainset", "run_dir"} <= inputs.keys()
    assert outputs is program
    assert error is None


async def test_a_compile_that_fails_is_told_of(lab, app, tmp_path):
    seen = Seen()
    dspex.configure(callbacks=[seen])
    with pytest.raises(dspex.ConfigurationError) as caught:
        await lab.compiled(lab.Model(), optimizer=lab.Search(), run_dir=tmp_path / "run", nonsense=1)
    assert seen.told[-1][1:] == (None, caught.value)


class Twice(dspex.Optimizer):
    """Has a compile of its own, as an optimizer written for DSPy has."""

    def compile(self, student, *, trainset, times=2, **more):
        if not trainset:
            raise ValueError("no examples")
        return student


class Thrice(Twice):
    def compile(self, student, *, trainset, times=3):
        return super().compile(student, trainset=trainset, times=times)


class Later(dspex.Optimizer):
    async def compile(self, student, *, trainset):
        return student


@pytest.fixture
def seen(app):
    seen = Seen()
    dspex.configure(callbacks=[seen])
    return seen


def test_a_compile_of_its_own_is_told_of_with_all_its_arguments_by_name(seen):
    optimizer, student = Twice(), dspex.Predict("question -> answer")
    assert optimizer.compile(student, trainset=[1], seed=4) is student
    (first, instance, inputs), (last, outputs, error) = seen.told
    assert (first, instance, error) == (last, optimizer, None)
    assert inputs == {"student": student, "trainset": [1], "times": 2, "seed": 4}
    assert outputs is student


def test_a_compile_that_calls_the_one_above_is_told_of_once(seen):
    Thrice().compile(dspex.Predict("question -> answer"), trainset=[1])
    assert [told[2] for told in seen.told] == [{**seen.told[0][2], "times": 3}, None]


def test_a_compile_of_its_own_that_fails_is_told_of_and_the_next_one_too(seen):
    optimizer = Twice()
    with pytest.raises(ValueError, match="no examples") as caught:
        optimizer.compile(dspex.Module(), trainset=[])
    assert seen.told[-1][1:] == (None, caught.value)
    optimizer.compile(dspex.Module(), trainset=[1])
    assert len(seen.told) == 4


async def test_an_async_compile_of_its_own_is_told_of(seen):
    student = dspex.Module()
    assert await Later().compile(student, trainset=[1]) is student
    assert [told[1] for told in seen.told[1:]] == [student]
