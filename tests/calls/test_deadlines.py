"""A call ends within its deadline, whatever it waits for."""

import asyncio

import pytest

import dspex
from dspex.plugin import LMTimeout, Unavailable


@pytest.mark.fault("G08")
@pytest.mark.parametrize(("timeout", "ends"), [(5.0, 5.0), (0.5, 0.5), (None, 120.0)])
def test_a_provider_that_never_answers_is_given_up(virtual, script, settled, timeout, ends):
    async def main():
        return await settled(dspex.LM("x/y", provider=script(seconds=1e6), timeout=timeout).acall("2+2?"))

    [done] = virtual(main)
    assert type(done.error) is LMTimeout
    assert done.seconds == pytest.approx(ends, abs=0.01)
    assert f"[x/y] No reply within {ends:g} s; raise it by timeout=." in str(done.error)


@pytest.mark.fault("N25")
@pytest.mark.parametrize("cache", [True, False])
def test_a_deadline_covers_all_attempts_and_waits(virtual, script, settled, cache):
    provider = script(Unavailable("down"), seconds=4.0)

    async def main():
        return await settled(dspex.LM("x/y", provider=provider, timeout=5.0, cache=cache).acall("2+2?"))

    [done] = virtual(main)
    assert isinstance(done.error, LMTimeout | Unavailable)
    assert done.seconds <= 5.01


def test_an_explicit_timeout_covers_the_queue(virtual, script, settled):
    provider = script(seconds=10.0)

    async def main():
        slow = dspex.LM("x/y", provider=provider, max_in_flight=1)
        return await settled(slow.acall("first?"), slow.copy(timeout=2.0).acall("second?"))

    first, second = virtual(main)
    assert first.value == ["4"]
    assert type(second.error) is LMTimeout
    assert second.seconds == pytest.approx(2.0, abs=0.01)
    assert len(provider.requests) == 1


def test_the_default_clock_starts_at_the_first_permit(virtual, script, settled):
    async def main():
        lm = dspex.LM("x/y", provider=script(seconds=100.0), max_in_flight=1)
        return await settled(*(lm.acall(f"{number}?") for number in range(4)))

    done = virtual(main)
    assert [one.value for one in done] == [["4"]] * 4
    assert done[3].seconds == pytest.approx(400.0, abs=0.1)


def test_a_retry_does_not_start_the_default_clock_again(virtual, script, settled):
    async def main():
        return await settled(dspex.LM("x/y", provider=script(Unavailable("down"), seconds=50.0)).acall("2+2?"))

    [done] = virtual(main)
    assert isinstance(done.error, LMTimeout | Unavailable)
    assert done.seconds <= 120.01


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize("cache", [True, False])
def test_the_callers_own_timeout_stays_the_callers(virtual, script, timeout, cache):
    async def main():
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(3.0):
                await dspex.LM("x/y", provider=script(seconds=1e6), timeout=timeout, cache=cache).acall("2+2?")
        return caught.value

    assert not isinstance(virtual(main), dspex.LMError)


def test_a_time_out_of_the_provider_itself_is_tried_again(virtual, script, settled):
    provider = script(TimeoutError(), "4")

    async def main():
        return await settled(dspex.LM("x/y", provider=provider).acall("2+2?"))

    [done] = virtual(main)
    assert done.value == ["4"]
    assert len(provider.requests) == 2


@pytest.mark.slow
@pytest.mark.fault("R8")
def test_a_thousand_deadlines_are_kept_at_once(virtual, script, settled):
    async def main():
        lm = dspex.LM("x/y", provider=script(seconds=1e6), max_in_flight=100, breaker=False)
        return await settled(*(lm.copy(timeout=1.0 + number / 100).acall(f"{number}?") for number in range(1_000)))

    for number, done in enumerate(virtual(main)):
        assert type(done.error) is LMTimeout
        assert done.seconds == pytest.approx(1.0 + number / 100, rel=0.1)


@pytest.mark.fault("S08")
@pytest.mark.parametrize("cache", [True, False])
def test_a_time_out_that_the_server_reports_is_not_taken_for_the_deadline(virtual, script, settled, cache):
    async def main():
        provider = script(LMTimeout("gateway", status=504))
        return await settled(dspex.LM("x/y", provider=provider, timeout=60.0, cache=cache).acall("2+2?"))

    [done] = virtual(main)
    assert str(done.error) == "[x/y] gateway (after 4 attempts)"
    assert done.error.status == 504


def test_many_deadlines_end_each_at_its_own_time(virtual, script, settled):
    seconds = [0.5 + number % 7 for number in range(700)]

    async def main():
        lm = dspex.LM("x/y", provider=script(seconds=1e6), cache=False)
        return await settled(*(lm.acall(f"{number}?", timeout=limit) for number, limit in enumerate(seconds)))

    done = virtual(main)
    assert {type(one.error) for one in done} == {LMTimeout}
    assert [one.seconds for one in done] == pytest.approx(seconds, abs=0.01)


def test_a_call_that_is_cancelled_while_its_deadline_ends_it_is_cancelled(virtual):
    class Cancelling:
        async def complete(self, request):
            try:
                await asyncio.sleep(1e6)
            finally:
                self.task.cancel()

    async def main():
        provider = Cancelling()
        provider.task = asyncio.create_task(dspex.LM("x/y", provider=provider, timeout=5.0).acall("2+2?"))
        await asyncio.wait([provider.task])
        return provider.task.cancelled(), provider.task.cancelling()

    assert virtual(main) == (True, 1)


def test_a_loop_is_left_with_no_timer_of_calls_that_have_ended(virtual, script):
    async def main():
        lm = dspex.LM("x/y", provider=script(seconds=1.0), cache=False)
        for number in range(3):
            await lm.acall(f"{number}?", timeout=2.0)
        await asyncio.sleep(500.0)
        return len(asyncio.get_running_loop()._scheduled)

    assert virtual(main) == 0
