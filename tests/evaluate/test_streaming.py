"""Rows come as examples finish; the consumer sets the pace, and leaving leaves nothing behind."""

import asyncio
from contextlib import aclosing

import pytest

from dspex.core.example import Example, Prediction
from dspex.evaluate.evaluate import Evaluate
from dspex.testing.virtual_time import simulate


class Timed:
    """Answers after as many seconds as the question says."""

    def __init__(self) -> None:
        self.started = self.cancelled = 0

    async def acall(self, question: str) -> Prediction:
        self.started += 1
        try:
            await asyncio.sleep(float(question))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Prediction(answer=question)


def waits(*seconds: float) -> list[Example]:
    return [Example(question=str(second), answer=str(second)).with_inputs("question") for second in seconds]


def test_rows_come_as_examples_finish(exact):
    async def seen():
        evaluate = Evaluate(waits(3, 1, 2), exact)
        return [(row.index, row.score, asyncio.get_running_loop().time()) async for row in evaluate.stream(Timed())]

    rows, _ = simulate(seen)
    assert [index for index, _, _ in rows] == [1, 2, 0]
    assert [at for _, _, at in rows] == pytest.approx([1, 2, 3], abs=1e-3)


def test_the_pool_is_kept_full(exact):
    """Eight examples of a second by four take two seconds, and a long one holds up no other."""
    _, seconds = simulate(lambda: Evaluate(waits(*[1] * 8), exact, num_threads=4).acall(Timed()))
    assert seconds == pytest.approx(2, abs=1e-3)
    _, seconds = simulate(lambda: Evaluate(waits(4, *[1] * 4), exact, num_threads=2).acall(Timed()))
    assert seconds == pytest.approx(4, abs=1e-3)


def test_a_slow_consumer_holds_the_program_up(exact):
    program = Timed()

    async def slow():
        stream = Evaluate(waits(*[0.01] * 500), exact, num_threads=4).stream(program)
        async with aclosing(stream):
            await anext(stream)
            await asyncio.sleep(60)
            held = program.started
            return held, len([row async for row in stream])

    (held, rest), _ = simulate(slow)
    assert held <= 16
    assert rest == 499


@pytest.mark.parametrize("way", ["break", "aclose", "cancel", "raise"])
async def test_leaving_early_cancels_what_runs_and_leaves_no_task(exact, way):
    program = Timed()
    stream = Evaluate(waits(0, *[3600] * 20), exact, num_threads=5).stream(program)

    async def consume():
        async for _ in stream:
            if way == "break":
                break
            if way == "raise":
                raise LookupError
            if way == "cancel":
                asyncio.current_task().cancel()

    if way == "aclose":
        await anext(stream)
    else:
        await asyncio.gather(consumer := asyncio.create_task(consume()), return_exceptions=True)
        assert consumer.cancelled() == (way == "cancel")
    await stream.aclose()
    assert (program.started, program.cancelled) == (6, 5)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_stream_that_nobody_reads_starts_nothing(echo, questions, exact):
    program = echo()
    await Evaluate(questions(5), exact).stream(program).aclose()
    assert program.started == 0


async def test_failures_come_in_the_stream(echo, questions, exact):
    rows = [row async for row in Evaluate(questions(5), exact).stream(echo(failing=frozenset({2})))]
    assert [row.index for row in rows if not row.ok] == [2]
    assert all(row.seconds >= 0 for row in rows)


async def test_two_streams_of_one_evaluate_do_not_mix(echo, questions, exact):
    evaluate = Evaluate(questions(40), exact, num_threads=3)

    async def count(failing: int) -> int:
        return sum([not row.ok async for row in evaluate.stream(echo(turns=2, failing=frozenset(range(failing))))])

    assert await asyncio.gather(count(3), count(7)) == [3, 7]
