"""`max_in_flight` holds over all loops and threads, and no permit is ever lost."""

import asyncio
import random
import threading
import time
import tracemalloc

import pytest

import dspex
from dspex.plugin import RateLimited
from dspex.service.limits import QUEUE_LIMIT, Limiter, Pace
from dspex.testing import VirtualClock


@pytest.mark.fault("N26")
def test_without_a_limit_all_calls_are_in_flight_together(virtual, script, settled):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        return await settled(*(lm.acall(f"{number}?") for number in range(500)))

    assert all(done.seconds == pytest.approx(1.0, abs=0.01) for done in virtual(main))
    assert provider.most == 500


@pytest.mark.parametrize("limit", [1, 7])
def test_a_limit_is_used_and_kept(virtual, script, settled, limit):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_in_flight=limit)
        return await settled(*(lm.acall(f"{number}?") for number in range(21)))

    done = virtual(main)
    assert provider.most == limit
    assert done[-1].seconds == pytest.approx(21 / limit, abs=0.01)


def test_permits_are_given_in_order_of_arrival(virtual, script, settled):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_in_flight=2)
        await settled(*(lm.acall(f"{number}?") for number in range(20)))

    virtual(main)
    assert [request.messages[0].text for request in provider.requests] == [f"{number}?" for number in range(20)]


@pytest.mark.fault("R14")
def test_a_limit_holds_over_loops_and_threads(script):
    provider = script(seconds=0.001)
    lm = dspex.LM("x/y", provider=provider, max_in_flight=5, cache=False)

    def on_a_loop(name):
        async def calls():
            await asyncio.gather(*(lm.acall(f"{name} {number}?") for number in range(50)))

        asyncio.run(calls())

    def in_a_thread(name):
        for number in range(10):
            lm(f"{name} {number}?")

    works = [(on_a_loop, f"loop {n}") for n in range(3)] + [(in_a_thread, f"thread {n}") for n in range(10)]
    threads = [threading.Thread(target=work, args=(name,)) for work, name in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(provider.requests) == 250
    assert provider.most == 5
    assert lm.service.attempts.limits.used == 0


@pytest.mark.fault("P14")
@pytest.mark.fault("R16")
def test_a_cancelled_call_gives_its_permit_back(virtual, script):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider, max_in_flight=3)
        rng = random.Random(7)
        tasks = [asyncio.create_task(lm.acall(f"{number}?")) for number in range(300)]
        while alive := [task for task in tasks if not task.done()]:
            for task in rng.sample(alive, min(20, len(alive))):
                task.cancel()
            await asyncio.sleep(rng.random())
        await asyncio.gather(*tasks, return_exceptions=True)
        return lm.service.attempts.limits.used, await lm.acall("and now?")

    assert virtual(main) == (0, ["4"])
    assert provider.most <= 3


@pytest.mark.fault("P11")
def test_waiters_of_a_loop_that_ended_take_no_permit_with_them(script):
    provider = script(0.05, "first", "4")
    lm = dspex.LM("x/y", provider=provider, max_in_flight=1)

    async def give_up():
        await asyncio.wait({asyncio.ensure_future(lm.acall(f"{number}?")) for number in range(5)}, timeout=0.01)

    holder = threading.Thread(target=lm, args=("first?",))
    holder.start()
    while not provider.now:
        pass
    asyncio.run(give_up())  # which cancels the five that wait, and closes their loop
    holder.join()
    assert lm("after?") == ["4"]
    assert lm.service.attempts.limits.used == 0


@pytest.mark.fault("R11")
def test_beyond_a_bound_the_queue_refuses_at_once():
    async def main():
        gate = Limiter(Pace(1), VirtualClock())
        held = await gate.acquire()
        tracemalloc.start()
        waiting = [asyncio.ensure_future(gate.acquire()) for _ in range(QUEUE_LIMIT)]
        await asyncio.sleep(0)
        assert tracemalloc.get_traced_memory()[0] <= 2_048 * QUEUE_LIMIT
        tracemalloc.stop()
        began = time.process_time()
        for _ in range(100):
            with pytest.raises(RateLimited, match=f"{QUEUE_LIMIT} attempts wait already"):
                await gate.acquire()
        assert time.process_time() - began <= 100 * 1e-3
        for waiter in waiting:
            waiter.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        gate.release(held)
        assert gate.used == 0

    asyncio.run(main())
