"""Modules that write `__call__` in place of `forward`, or around it."""

import threading

import pytest

import dspex
from dspex.testing import DummyLM


class Alone(dspex.Module):
    """Has nothing but a call."""

    def __init__(self):
        self.draft = dspex.Predict("question -> draft")

    def __call__(self, question):
        return self.draft(question=question)


class Around(dspex.Module):
    """Chooses the LM around its own `forward`."""

    def __init__(self, lm):
        self.lm = lm
        self.draft = dspex.Predict("question -> draft")

    def __call__(self, **inputs):
        with dspex.context(lm=self.lm):
            return super().__call__(**inputs)

    def forward(self, question):
        return self.draft(question=question)


def lm_of(count=3):
    return DummyLM([{"draft": "d"}] * count)


def programs():
    dspex.configure(lm=lm_of())
    alone, own = Alone(), lm_of()
    around = Around(own)
    return [(alone, dspex.settings.lm), (around, own)]


@pytest.mark.parametrize("place", [0, 1])
async def test_every_way_to_run_a_module_runs_its_own_call(place):
    program, lm = programs()[place]
    assert program(question="?").draft == (await program.acall(question="?")).draft == "d"
    assert [one.draft for one in dspex.Parallel()([(program, {"question": "?"})])] == ["d"]
    assert len(lm.history) == 3


@pytest.mark.parametrize("place", [0, 1])
def test_batch_and_evaluate_run_it_too(place):
    program, lm = programs()[place]
    devset = [dspex.Example(question="?").with_inputs("question")]
    assert [one.draft for one in program.batch(devset)] == ["d"]
    assert (
        dspex.Evaluate(devset=devset, metric=lambda example, prediction: prediction.draft == "d")(program).score == 100
    )
    assert len(lm.history) == 2


@pytest.mark.parametrize("called", [lambda module: module(), lambda module: dspex.syncify(module)()])
def test_a_call_around_nothing_says_what_is_missing(called):
    class Around(dspex.Module):
        def __call__(self):
            return super().__call__()

    with pytest.raises(dspex.ConfigurationError, match="Around has neither `forward` nor `aforward`"):
        called(Around())


async def test_its_own_call_ends_by_the_deadline_around_it():
    done = threading.Event()

    class Slow(dspex.Module):
        def __call__(self):
            done.wait(60)

    try:
        with pytest.raises(dspex.DeadlineExceeded), dspex.deadline(0.01):
            await Slow().acall()
    finally:
        done.set()
