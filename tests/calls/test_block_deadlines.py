"""`dspex.deadline`: whatever a block asks for has ended when its time is over."""

import asyncio
import threading

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse, Message, Unavailable, Usage


class Pausing(dspex.Module):
    """Waits for itself, and then asks."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.ask = dspex.Predict("question -> answer")

    async def aforward(self, question):
        await asyncio.sleep(self.seconds)
        return await self.ask.acall(question=question)


@pytest.fixture
def lm(script):
    """Makes an LM of steps."""
    return lambda *steps, **more: dspex.LM("x/y", provider=script(*steps, **more))


def in_time(virtual, work, seconds=5.0):
    """What `work` raises in a block with a deadline, and when."""

    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(dspex.DeadlineExceeded) as caught, dspex.deadline(seconds):
            await work()
        return (
            caught.value,
            loop.time() - began,
            [task for task in asyncio.all_tasks() if task is not asyncio.current_task()],
        )

    error, took, tasks = virtual(main)
    assert tasks == []
    return error, took


@pytest.mark.fault("R8")
@pytest.mark.parametrize("timeout", [None, 1.0e3])
@pytest.mark.parametrize("cache", [True, False])
def test_a_call_ends_with_its_block(virtual, script, timeout, cache):
    lm = dspex.LM("x/y", provider=script(seconds=1e6), timeout=timeout, cache=cache)
    error, seconds = in_time(virtual, lambda: lm.acall("2+2?"))
    assert seconds == pytest.approx(5.0, abs=0.01)
    assert str(error) == "The 5 s that dspex.deadline gives this block are over."
    assert (error.unit, error.limit) == ("seconds", 5.0)
    assert isinstance(error, TimeoutError)


def test_a_call_with_less_time_of_its_own_ends_by_that(virtual, script, settled):
    async def main():
        with dspex.deadline(50.0):
            return await settled(dspex.LM("x/y", provider=script(seconds=1e6), timeout=2.0).acall("2+2?"))

    [done] = virtual(main)
    assert type(done.error) is dspex.LMTimeout
    assert done.seconds == pytest.approx(2.0, abs=0.01)


def test_nothing_is_sent_when_the_time_is_over(virtual, script):
    provider = script("4")

    async def ask():
        await asyncio.sleep(6.0)
        await dspex.LM("x/y", provider=provider).acall("2+2?")

    in_time(virtual, ask)
    assert provider.requests == []


@pytest.mark.parametrize("seconds", [0, -3.0])
def test_a_block_that_begins_too_late_sends_nothing(virtual, script, seconds):
    provider = script("4")
    in_time(virtual, lambda: dspex.LM("x/y", provider=provider).acall("2+2?"), seconds)
    assert provider.requests == []


@pytest.mark.parametrize("seconds", [float("nan"), "5", None])
def test_a_deadline_takes_a_number(seconds):
    with pytest.raises(dspex.ConfigurationError, match="a number of seconds"), dspex.deadline(seconds):
        raise AssertionError


def test_the_earliest_of_nested_ones_holds(virtual, lm):
    async def ask():
        with dspex.deadline(100.0) as inner:
            assert inner.left == pytest.approx(5.0)
            await lm(seconds=1e6).acall("2+2?")

    error, seconds = in_time(virtual, ask)
    assert (error.limit, seconds) == (5.0, pytest.approx(5.0, abs=0.01))


def test_an_inner_one_leaves_the_outer_ones_time(virtual, lm):
    async def main():
        with dspex.deadline(100.0):
            with pytest.raises(dspex.DeadlineExceeded), dspex.deadline(5.0):
                await lm(seconds=1e6).acall("2+2?")
            return await lm("4").acall("2+2?")

    assert virtual(main) == ["4"]


def test_a_retry_that_would_come_too_late_is_not_waited_for(virtual, script, settled):
    async def main():
        lm = dspex.LM("x/y", provider=script(Unavailable("down", retry_after=30.0)))
        with dspex.deadline(5.0):
            return await settled(lm.acall("2+2?"))

    [done] = virtual(main)
    assert isinstance(done.error, Unavailable)
    assert done.seconds < 1.0


def test_a_follower_keeps_its_blocks_deadline_and_the_leader_goes_on(virtual, script, settled):
    provider = script(seconds=20.0)

    async def short(lm):
        with dspex.deadline(5.0):
            return await lm.acall("2+2?")

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        return await settled(lm.acall("2+2?"), short(lm))

    leader, follower = virtual(main)
    assert leader.value == ["4"]
    assert type(follower.error) is dspex.DeadlineExceeded
    assert follower.seconds == pytest.approx(5.0, abs=0.01)
    assert len(provider.requests) == 1


def test_a_leaders_deadline_is_not_shared_with_its_followers(virtual, script, settled):
    provider = script(seconds=20.0)

    async def short(lm):
        with dspex.deadline(5.0):
            return await lm.acall("2+2?")

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        return await settled(short(lm), lm.acall("2+2?"))

    leader, follower = virtual(main)
    assert type(leader.error) is dspex.DeadlineExceeded
    assert follower.value == ["4"]


def test_short_deadlines_do_not_speak_against_an_endpoint(virtual, lm):
    async def main():
        slow = lm(seconds=10.0)
        for number in range(50):
            with pytest.raises(dspex.DeadlineExceeded), dspex.deadline(1.0):
                await slow.acall(f"{number}?")
        return await slow.acall("2+2?")

    assert virtual(main) == ["4"]


def test_a_budget_gets_back_what_was_reserved(virtual, script):
    async def main():
        lm = dspex.LM("x/y", provider=script(seconds=1e6))
        with dspex.budget(tokens=10_000) as budget:
            with pytest.raises(dspex.DeadlineExceeded), dspex.deadline(5.0):
                await lm.acall("2+2?", max_tokens=5)
            return budget.left.tokens

    assert virtual(main) == 10_000


def test_a_fallback_asks_nobody_else_when_the_time_is_over(virtual, lm):
    second = lm("4")
    error, _ = in_time(virtual, lambda: dspex.Fallback(lm(seconds=1e6), second).acall("2+2?"))
    assert type(error) is dspex.DeadlineExceeded


# Programs


def test_a_programs_own_waits_end_too(virtual, lm):
    async def ask():
        with dspex.context(lm=lm("[[ ## answer ## ]]\n4")):
            await Pausing(1e6).acall(question="2+2?")

    assert in_time(virtual, ask)[1] == pytest.approx(5.0, abs=0.01)


def test_a_program_in_time_gives_its_answer(virtual, lm):
    async def main():
        with dspex.context(lm=lm("[[ ## answer ## ]]\n4")), dspex.deadline(5.0) as deadline:
            found = await Pausing(3.0).acall(question="2+2?")
            return found.answer, deadline.left

    assert virtual(main) == ("4", pytest.approx(2.0, abs=0.01))


def test_an_evaluation_ends_with_the_rows_it_has(virtual, lm):
    devset = [dspex.Example(question=f"{number}?", answer="4").with_inputs("question") for number in range(10)]

    async def main():
        evaluate = dspex.Evaluate(devset=devset, metric=lambda gold, pred: gold.answer == pred.answer, num_threads=2)
        slow = dspex.context(lm=lm("[[ ## answer ## ]]\n4", seconds=2.0))
        with slow, pytest.raises(dspex.DeadlineExceeded) as caught, dspex.deadline(5.0):
            await evaluate.acall(dspex.Predict("question -> answer"))
        return len(caught.value.results)

    assert virtual(main) == 4


def test_a_deadline_of_a_programs_own_fails_its_rows_only(virtual, lm):
    class Hasty(dspex.Module):
        def __init__(self):
            super().__init__()
            self.ask = dspex.Predict("question -> answer")

        async def aforward(self, question):
            with dspex.deadline(1.0):
                return await self.ask.acall(question=question)

    devset = [dspex.Example(question=f"{number}?", answer="4").with_inputs("question") for number in range(3)]

    async def main():
        evaluate = dspex.Evaluate(devset=devset, metric=lambda gold, pred: gold.answer == pred.answer, max_errors=10)
        with dspex.context(lm=lm("[[ ## answer ## ]]\n4", seconds=2.0)), dspex.deadline(100.0):
            return await evaluate.acall(Hasty())

    result = virtual(main)
    assert result.score == 0.0
    assert len(result.results) == 3


def test_a_tool_ends_with_its_block(virtual):
    async def look(city: str) -> str:
        await asyncio.sleep(1e6)
        return "never"

    assert in_time(virtual, lambda: dspex.Tool(look).acall(city="Oslo"))[1] == pytest.approx(5.0, abs=0.01)


def test_a_stream_ends_with_its_block(virtual):
    class Dripping:
        capabilities = dspex.Capabilities(stream=True)

        async def complete(self, request):
            raise AssertionError

        async def stream(self, request):
            for number in range(100):
                await asyncio.sleep(1.0)
                yield LMDelta(f"{number} ")
            yield LMDelta("", finish_reason="stop", usage=Usage(1, 1))

    came = []

    async def read():
        lm = dspex.LM("x/y", provider=Dripping())
        async for delta in lm.stream(lm.request((Message.of("user", "count"),), {})):
            came.append(delta.text)  # noqa: PERF401  a comprehension that is cut off leaves nothing

    _, seconds = in_time(virtual, read, 5.5)
    assert seconds == pytest.approx(5.5, abs=0.01)
    assert "".join(came).split() == ["0", "1", "2", "3", "4"]


# Threads and sync callers


def test_a_sync_program_ends_in_time(script):
    class Slow:
        async def complete(self, request):
            await asyncio.sleep(60.0)
            return LMResponse.from_text("4")

    with (
        pytest.raises(dspex.DeadlineExceeded),
        dspex.deadline(0.05),
        dspex.context(lm=dspex.LM("x/y", provider=Slow())),
    ):
        dspex.Predict("question -> answer")(question="2+2?")


def test_a_tool_that_blocks_its_thread_is_not_waited_for():
    release = threading.Event()

    def look(city: str) -> str:
        release.wait(30)
        return "never"

    try:
        with pytest.raises(dspex.DeadlineExceeded), dspex.deadline(0.05):
            dspex.Tool(look)(city="Oslo")
    finally:
        release.set()


def test_a_thread_that_carries_the_context_has_the_deadline(script):
    with dspex.deadline(5.0):
        asked = dspex.carry(lambda: dspex.LM("x/y", provider=script()).copy()("2+2?"))
    found: list[object] = []

    def work() -> None:
        found.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [["4"]]
