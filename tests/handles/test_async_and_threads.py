"""Programs in their other form, and the context in the user's own threads."""

import asyncio
import contextvars
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import dspex
from dspex.plugin import LMResponse, Usage
from dspex.testing import DummyLM


class Forward(dspex.Module):
    def forward(self, gate=None):
        return threading.get_ident()


class AForward(dspex.Module):
    def __init__(self):
        self.predict = dspex.Predict("question -> answer")

    async def aforward(self, question):
        await asyncio.sleep(0)
        return await self.predict.acall(question=question)


class Named:
    """An LMProvider that answers with its model's name."""

    async def complete(self, request):
        await asyncio.sleep(0)
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{request.model}", Usage(3, 2))


# asyncify


async def test_sync_code_runs_in_a_thread_with_the_context():
    def look(word):
        return word, dspex.settings.num_threads, threading.get_ident()

    with dspex.context(num_threads=2):
        word, num_threads, thread = await dspex.asyncify(look)("a")
    assert (word, num_threads) == ("a", 2)
    assert thread != threading.get_ident()
    assert await dspex.asyncify(Forward())() != threading.get_ident()


@pytest.mark.parametrize("program", [AForward(), dspex.Predict("question -> answer")], ids=["aforward", "Predict"])
async def test_what_is_async_already_runs_on_the_callers_loop(program):
    dspex.configure(lm=DummyLM([{"answer": "4"}]), async_max_workers=0)
    assert (await dspex.asyncify(program)(question="2+2?")).answer == "4"


async def test_an_async_function_is_its_own_async_form():
    async def answer():
        return 4

    assert await dspex.asyncify(answer)() == 4


async def test_the_programs_own_error_comes_out():
    def fails():
        raise KeyError("odd")

    with pytest.raises(KeyError, match="odd"):
        await dspex.asyncify(fails)()


async def test_at_most_async_max_workers_run_at_once():
    lock, barrier, running, most = threading.Lock(), threading.Barrier(3), [0], [0]

    def work():
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        barrier.wait(10)
        with lock:
            running[0] -= 1
        barrier.wait(10)

    with dspex.context(async_max_workers=3):
        # Asked for anew each time, as a server does: the bound is the App's.
        await asyncio.gather(*(dspex.asyncify(work)() for _ in range(12)))
    assert most == [3]


async def test_nested_ones_do_not_lock_up():
    def outer():
        return asyncio.run(dspex.asyncify(lambda: 4)())

    with dspex.context(async_max_workers=1):
        assert await dspex.asyncify(outer)() == 4


async def test_a_cancelled_one_makes_no_more_calls_and_gives_its_place_back():
    entered, gate, ended = threading.Event(), threading.Event(), threading.Event()
    outcome = []
    predict = dspex.Predict("question -> answer")

    def work():
        entered.set()
        gate.wait(10)
        try:
            outcome.append(predict(question="?"))
        except BaseException as error:
            outcome.append(type(error))
        ended.set()

    with dspex.context(lm=dspex.LM("x/y", provider=Named()), async_max_workers=1):
        task = asyncio.create_task(dspex.asyncify(work)())
        await asyncio.to_thread(entered.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(dspex.asyncify(lambda: 4)(), 5) == 4
    gate.set()
    await asyncio.to_thread(ended.wait, 10)
    assert outcome == [asyncio.CancelledError]


# syncify


@pytest.mark.parametrize("in_place", [True, False])
def test_an_async_program_is_called_without_a_loop_and_within_one(in_place):
    program = dspex.syncify(AForward(), in_place=in_place)
    dspex.configure(lm=DummyLM([{"answer": "4"}] * 2))
    assert program(question="2+2?").answer == "4"

    async def inside():
        return program(question="2+2?").answer

    assert asyncio.run(inside()) == "4"


@pytest.mark.parametrize(("in_place", "path"), [(True, "predict"), (False, "program.predict")])
def test_a_synced_program_keeps_its_predictors(in_place, path):
    assert [name for name, _ in dspex.syncify(AForward(), in_place=in_place).named_predictors()] == [path]


def test_an_async_function_is_called_sync():
    @dspex.syncify
    async def double(number):
        await asyncio.sleep(0)
        return 2 * number

    assert double(2) == 4
    assert double.__name__ == "double"


def test_what_is_not_async_is_refused():
    with pytest.raises(dspex.ConfigurationError, match=r"a dspex\.Module or an async function"):
        dspex.syncify(print)


# carry


def test_the_context_is_carried_into_an_executor():
    with ThreadPoolExecutor(2) as pool, dspex.context(num_threads=2):
        carried = list(pool.map(dspex.carry(lambda number: (number, dspex.settings.num_threads)), range(4)))
        assert pool.submit(lambda: dspex.settings.num_threads).result() == 64
    assert carried == [(0, 2), (1, 2), (2, 2), (3, 2)]


def test_calls_in_carried_threads_count_for_the_block_that_started_them():
    predict = dspex.Predict("question -> answer")
    lm = dspex.LM("x/y", provider=Named(), cache=False)
    with ThreadPoolExecutor(8) as pool, dspex.context(lm=lm), dspex.track_usage() as usage, dspex.budget(calls=20) as b:
        list(pool.map(dspex.carry(lambda number: predict(question=str(number))), range(20)))
        with pytest.raises(dspex.BudgetExceeded):
            pool.submit(dspex.carry(predict), question="one more").result()
    assert (usage.total.calls, b.spent.calls) == (20, 20)


def test_carried_calls_leave_nothing_to_each_other_and_nothing_here():
    word = contextvars.ContextVar("word", default="here")

    def change(to):
        before = word.get()
        word.set(to)
        return before

    carried = dspex.carry(change)
    assert [carried("a"), carried("b"), word.get()] == ["here"] * 3


@pytest.mark.slow
@pytest.mark.fault("R20")
async def test_a_thousand_requests_with_settings_of_their_own_leak_nothing():
    predict = dspex.Predict("question -> answer")
    rng = random.Random(5)
    pool = ThreadPoolExecutor(16)

    def sync_form(number):
        return [predict(question=f"{number}?").answer, dspex.settings.num_threads]

    async def async_form(number):
        return [(await predict.acall(question=f"{number}?")).answer, dspex.settings.num_threads]

    async def carried(number):
        return await asyncio.wrap_future(pool.submit(dspex.carry(sync_form), number))

    async def request(number):
        run = rng.choice([async_form, async_form, dspex.asyncify(sync_form), carried])
        lm = dspex.LM(f"x/m{number}", provider=Named(), cache=False)
        with dspex.context(lm=lm, num_threads=number), dspex.track_usage() as usage, dspex.budget(calls=1) as budget:
            await asyncio.sleep(rng.random() / 100)
            assert await run(number) == [f"m{number}", number]
        assert usage.get_total_tokens()[f"x/m{number}"]["total_tokens"] == 5
        return usage.total.calls, budget.spent.calls

    counts = await asyncio.gather(*map(request, range(1, 1001)))
    pool.shutdown()
    assert counts == [(1, 1)] * 1000
    assert (dspex.settings.lm, dspex.settings.num_threads) == (None, 64)
