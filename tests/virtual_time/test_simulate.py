import asyncio
import time

import pytest

from dspex.testing.virtual_time import Deadlock, VirtualClock, simulate


def test_a_year_of_sleep_takes_no_time():
    async def main():
        await asyncio.sleep(365 * 86_400)
        return "awake"

    began = time.monotonic()
    result, seconds = simulate(main)
    assert result == "awake"
    assert seconds == pytest.approx(365 * 86_400)
    assert time.monotonic() - began < 2.0


def test_both_clocks_follow_virtual_time():
    async def main():
        clock = VirtualClock()
        before = clock.now(), clock.monotonic()
        await clock.sleep(90.0)
        return clock.now() - before[0], clock.monotonic() - before[1]

    assert simulate(main)[0] == pytest.approx((90.0, 90.0), abs=1e-5)


def finishing_order(seed):
    async def main():
        order = []

        async def wait(name):
            await asyncio.sleep(1.0)
            order.append(name)

        await asyncio.gather(*map(wait, range(20)))
        return order

    return simulate(main, seed)[0]


def test_timers_of_one_instant_fire_in_an_order_that_the_seed_decides():
    assert finishing_order(1) == finishing_order(1)
    assert finishing_order(1) != finishing_order(2)


def test_timeouts_are_kept_in_virtual_time():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(120.0):
                await asyncio.Event().wait()

    assert simulate(main)[1] == pytest.approx(120.0)


def test_waiting_for_what_cannot_happen_names_who_waits():
    async def starve():
        await asyncio.Event().wait()

    async def main():
        await asyncio.create_task(starve(), name="hungry")

    with pytest.raises(Deadlock, match=r"hungry: .*starve"):
        simulate(main)


def test_a_timer_without_end_is_found():
    async def main():
        while True:  # noqa: ASYNC110
            await asyncio.sleep(1e6)

    with pytest.raises(Deadlock):
        simulate(main)


def test_virtual_time_stands_still_while_a_thread_works():
    async def main():
        async with asyncio.timeout(0.5):
            return await asyncio.to_thread(sum, range(2_000_000))

    result, seconds = simulate(main)
    assert result == sum(range(2_000_000))
    assert seconds < 0.5


def test_sockets_are_refused():
    async def main():
        await asyncio.open_connection("127.0.0.1", 9)

    with pytest.raises(RuntimeError, match="opens no sockets"):
        simulate(main)
