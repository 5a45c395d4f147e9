import asyncio
import threading

import pytest

from dspex.core.errors import SupervisorFailed, Unavailable
from dspex.runtime.supervisor import ChildSpec, Supervisor
from dspex.testing.virtual_time import VirtualClock, simulate


def stubborn(refusals, seconds=60.0):
    """A child that ignores that many cancellations, each for some seconds."""

    async def live():
        left = refusals
        while True:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                if left == 0:
                    raise
                left -= 1

    return live


async def die_now():
    raise OSError("disk full")


@pytest.mark.parametrize(
    ("refusals", "state", "seconds"),
    [(0, "stopped", 0), (1, "stopped", 2), (2, "stuck", 3)],
    ids=["at once", "late", "never"],
)
def test_a_child_has_its_shutdown_time_and_no_more(refusals, state, seconds):
    async def main():
        root = Supervisor("root")
        root.add(ChildSpec("a", stubborn(refusals), shutdown=2.0))
        await root.start()
        await root.stop()
        passed = asyncio.get_running_loop().time()
        return root.tree()[0].state, round(passed, 3)

    assert simulate(main)[0] == (state, seconds)


def test_a_child_may_clean_up_within_its_time():
    done = []

    async def live():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(4.9)
            done.append("saved")

    async def main():
        root = Supervisor("root")
        root.add(ChildSpec("a", live))
        await root.start()
        await root.stop()

    simulate(main)
    assert done == ["saved"]


def test_told_to_stop_twice_it_gives_nobody_more_time():
    async def main():
        root = Supervisor("root")
        root.add(ChildSpec("first", asyncio.Event().wait))
        root.add(ChildSpec("slow", stubborn(1)))
        task = asyncio.create_task(root.run())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.001)
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        return asyncio.get_running_loop().time(), left

    seconds, left = simulate(main)[0]
    assert seconds < 2.1
    assert left == []


@pytest.mark.fault("P19")
def test_when_it_gives_up_every_waiter_hears_it_in_the_same_second():
    async def main():
        root = Supervisor("service", clock=VirtualClock())
        root.add(ChildSpec("a", die_now))
        loop = asyncio.get_running_loop()
        waiters = [loop.create_future() for _ in range(500)]
        for waiter in waiters:
            root.register(waiter)
        waiters[0].set_result("had it before")
        await root.start()
        ends = await asyncio.gather(*waiters, return_exceptions=True)
        return ends, loop.time()

    [first, *others], seconds = simulate(main)[0]
    assert first == "had it before"
    assert {type(error) for error in others} == {Unavailable}
    assert "'a' died (OSError: disk full)" in str(others[0])
    assert seconds < 1.0


def test_a_waiter_on_another_loop_hears_of_the_stop():
    async def wait_elsewhere(root, registered):
        future = asyncio.get_running_loop().create_future()
        root.register(future)
        registered.set()
        try:
            await future
        except Unavailable as error:
            return error

    async def main():
        root = Supervisor("root")
        await root.start()
        registered, found = threading.Event(), []
        thread = threading.Thread(target=lambda: found.append(asyncio.run(wait_elsewhere(root, registered))))
        thread.start()
        await asyncio.to_thread(registered.wait, 5)
        await root.stop()
        await asyncio.to_thread(thread.join, 5)
        return found

    [error] = asyncio.run(main())
    assert "'root' was stopped" in str(error)


def test_who_comes_after_the_end_is_told_at_once():
    async def main():
        root = Supervisor("root")
        await root.start()
        await root.stop()
        future = asyncio.get_running_loop().create_future()
        root.register(future)
        with pytest.raises(Unavailable, match="was stopped"):
            await future

    simulate(main)


def test_who_runs_it_directly_gets_the_error():
    async def main():
        root = Supervisor("root", clock=VirtualClock())
        root.add(ChildSpec("a", die_now))
        with pytest.raises(SupervisorFailed, match="gave up"):
            await root.run()

    simulate(main)


def test_a_child_may_stop_its_own_supervisor():
    async def main():
        root = Supervisor("root")
        root.add(ChildSpec("a", root.stop))
        await root.start()
        await asyncio.sleep(1)
        return len(asyncio.all_tasks())

    assert simulate(main)[0] == 1
