"""A devset may be anything that gives examples, now or later."""

import asyncio

import pytest

from dspex.core.errors import EvaluationError
from dspex.core.example import Example
from dspex.evaluate.evaluate import Evaluate
from dspex.testing.virtual_time import simulate


class Feed:
    """Gives examples one by one, some seconds apart; counts who asks at once, and notes that it was closed."""

    def __init__(self, examples, seconds: float = 0.0, fault: Exception | None = None) -> None:
        self.examples, self.seconds, self.fault = examples, seconds, fault
        self.asking = self.most = self.given = 0
        self.closed = False

    async def __aiter__(self):
        try:
            for example in self.examples:
                self.asking += 1
                self.most = max(self.most, self.asking)
                await asyncio.sleep(self.seconds)
                self.asking -= 1
                self.given += 1
                yield example
        finally:
            self.closed = True
        if self.fault:
            raise self.fault


def test_an_async_devset_is_shared_by_all_workers(run, echo, questions, exact):
    feed = Feed(questions(150, wrong=75))
    result = run(Evaluate(feed, exact, num_threads=8), echo(turns=3))
    assert (result.score, len(result.results), feed.most) == (50.0, 150, 1)
    assert [row.index for row in result.rows] == list(range(150))


def test_examples_run_while_later_ones_are_awaited(echo, questions, exact):
    async def seen():
        clock = asyncio.get_running_loop().time
        return [(row.index, round(clock())) async for row in Evaluate(Feed(questions(3), 10), exact).stream(echo())]

    rows, _ = simulate(seen)
    assert rows == [(0, 10), (1, 20), (2, 30)]


async def test_an_endless_devset_can_be_left(echo, exact):
    def endless():
        number = 0
        while True:
            yield Example(question=str(number), answer=str(number)).with_inputs("question")
            number += 1

    feed = Feed(endless())
    stream = Evaluate(feed, exact, num_threads=4).stream(echo())
    async for row in stream:
        if row.index >= 20:
            break
    await stream.aclose()
    assert feed.given < 40
    assert feed.closed


@pytest.mark.parametrize("kind", ["bad example", "own error"])
def test_a_fault_of_an_async_devset_ends_the_evaluation(run, echo, questions, exact, kind):
    feed = (
        Feed([*questions(3), Example(question="1")])
        if kind == "bad example"
        else Feed(questions(3), 0, OSError("gone"))
    )
    with pytest.raises(EvaluationError if kind == "bad example" else OSError, match=r"Example 3 declares|gone"):
        run(Evaluate(feed, exact, num_threads=2), echo())
