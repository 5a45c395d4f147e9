"""Cancelling, closing, several loops and threads."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from dspex.plugin import ContextWindowExceeded, Unavailable

# Unstopped, this takes 10 to 30 s; a stopped one frees its slot within a token or a batch of the prompt.
LONG = {"max_tokens": 900, "grammar": "root ::= [a-z ]+", "temperature": 1.0}
SOON_S = 4.0  # of processor time: how much else the machine does must not decide


async def test_a_cancelled_call_stops_generating_at_once(model, ask):
    task = asyncio.create_task(model.complete(ask(**LONG)))
    deltas = model.stream(ask(max_tokens=1))
    await asyncio.wait([task], timeout=0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    began = time.process_time()
    assert [delta.finish_reason async for delta in deltas][-1] == "length"
    assert time.process_time() - began < SOON_S


async def test_a_prompt_that_is_still_being_read_can_be_cancelled(model, ask):
    task = asyncio.create_task(model.complete(ask("a b c d " * 240, max_tokens=1)))
    await asyncio.wait([task], timeout=0.3)
    task.cancel()
    began = time.process_time()
    await model.complete(ask("Hello", max_tokens=1))
    assert time.process_time() - began < SOON_S
    assert task.cancelled()


async def test_a_stream_that_is_left_early_stops_generating(model, ask):
    deltas = model.stream(ask(**LONG))
    assert (await anext(deltas)).text
    await deltas.aclose()
    began = time.process_time()
    await model.complete(ask(max_tokens=1))
    assert time.process_time() - began < SOON_S


async def test_a_call_cancelled_in_the_line_is_never_begun(model, ask):
    first = asyncio.create_task(model.complete(ask(**LONG)))
    waiting = [asyncio.create_task(model.complete(ask(**LONG))) for _ in range(20)]
    await asyncio.wait([first], timeout=0.1)
    for task in (first, *waiting):
        task.cancel()
    began = time.process_time()
    await model.complete(ask(max_tokens=1))
    assert time.process_time() - began < SOON_S


def test_loops_of_several_threads_share_one_model(model, ask):
    answers: list[str] = []

    async def two_calls() -> None:
        replies = await asyncio.gather(*(model.complete(ask(f"{word} is", max_tokens=2)) for word in ("Red", "Blue")))
        deltas = [delta async for delta in model.stream(ask("Green is", max_tokens=2))]
        answers.extend([*(reply.text for reply in replies), "".join(delta.text for delta in deltas)])

    threads = [threading.Thread(target=asyncio.run, args=(two_calls(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 9
    assert all(answers)


def test_a_loop_that_is_gone_leaves_the_model_usable(model, ask):
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.complete(ask(**LONG)), 0.1)

    for _ in range(2):
        asyncio.run(give_up())
    assert asyncio.run(model.complete(ask(max_tokens=1))).text


async def test_the_loop_stays_free_while_the_model_answers(model, ask):
    await model.start()
    task = asyncio.create_task(model.complete(ask("a b c d " * 50, max_tokens=8)))
    longest, last = 0.0, time.process_time()
    while not task.done():
        await asyncio.wait([task], timeout=0.01)
        longest, last = max(longest, time.process_time() - last), time.process_time()
    assert longest < 0.4


async def test_slots_work_side_by_side(another, ask):
    model = another(slots=2, context=256)
    assert model.capabilities.max_concurrency == 2
    long = model.stream(ask(**{**LONG, "max_tokens": 200}))
    await anext(long)
    assert (await model.complete(ask(max_tokens=1))).text
    assert (await anext(long)).finish_reason is None
    await long.aclose()


async def test_closing_ends_what_is_generated_and_frees_the_model_though_errors_are_kept(another, ask):
    before = native_threads()
    model = another(context=256)
    with pytest.raises(ContextWindowExceeded) as kept:
        await model.complete(ask("a b " * 200))
    running = [asyncio.create_task(model.complete(ask(**{**LONG, "max_tokens": 200}))) for _ in range(2)]
    await asyncio.wait(running, timeout=0.2)
    assert native_threads() > before
    await model.aclose()
    for task in running:
        with pytest.raises(Unavailable, match="closed"):
            await task
    # The first call to a thread pool of asyncio's own leaves a thread.
    assert native_threads() <= before + 1
    assert kept.value.__traceback__ is not None
    assert (await model.complete(ask(max_tokens=1))).text, "a later call loads it anew"


def native_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))
