"""The loop of sync calls: run by the thread that needs it, by one of its own where that does not do."""

import asyncio
import os
import signal
import threading
from contextvars import ContextVar

import pytest

from dspex.runtime.bridge import Bridge

OF_A_CALL: ContextVar[str] = ContextVar("of_a_call")


@pytest.fixture
def bridge():
    bridge = Bridge("a bridge")
    yield bridge
    bridge.stop()


def thread_of(bridge: Bridge) -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == bridge.name), None)


async def loop_here():
    return asyncio.get_running_loop(), threading.current_thread()


def test_calls_one_after_the_other_share_a_loop_and_need_no_thread(bridge):
    seen = [bridge.run(loop_here()) for _ in range(3)]
    assert set(seen) == {(seen[0][0], threading.current_thread())}
    assert thread_of(bridge) is None


def test_calls_of_several_threads_that_meet_share_the_loop(bridge):
    begun, met, loops = threading.Event(), asyncio.Event(), []

    async def waits():
        loops.append(asyncio.get_running_loop())
        begun.set()
        await met.wait()

    async def comes():
        loops.append(asyncio.get_running_loop())
        met.set()

    first = threading.Thread(target=lambda: bridge.run(waits()))
    first.start()
    assert begun.wait(5)
    bridge.run(comes())
    first.join(5)
    assert not first.is_alive()
    assert loops[0] is loops[1]


def test_a_call_that_outlasts_the_one_that_runs_the_loop_goes_on(bridge):
    begun, ended, at_the_loop, result = threading.Event(), asyncio.Event(), threading.Event(), []

    async def drives():
        begun.set()
        await asyncio.to_thread(at_the_loop.wait, 5)

    async def outlasts():
        at_the_loop.set()
        await ended.wait()
        return "done"

    driver = threading.Thread(target=lambda: bridge.run(drives()))
    driver.start()
    assert begun.wait(5)
    other = threading.Thread(target=lambda: result.append(bridge.run(outlasts())))
    other.start()
    driver.join(5)
    bridge.loop.call_soon_threadsafe(ended.set)
    other.join(5)
    assert result == ["done"]


def test_a_task_that_a_call_leaves_behind_goes_on_and_the_loop_stands_again_after_it(bridge):
    may_go_on, done, tasks = threading.Event(), threading.Event(), []

    async def left():
        await asyncio.to_thread(may_go_on.wait, 5)
        done.set()

    async def leaves():
        tasks.append(asyncio.create_task(left()))

    bridge.run(leaves())
    thread = thread_of(bridge)
    assert thread is not None
    may_go_on.set()
    assert done.wait(5)

    async def the_end():
        await tasks[0]

    bridge.run(the_end())
    thread.join(5)
    assert thread_of(bridge) is None
    assert bridge.run(loop_here())[1] is threading.current_thread()


def test_a_call_ends_with_its_result_though_others_stop_the_loop(bridge):
    async def stops():
        for _ in range(3):
            asyncio.get_running_loop().stop()
            await asyncio.sleep(0)
        return "done"

    assert bridge.run(stops()) == "done"


@pytest.mark.fault("P10")
def test_the_end_of_a_forked_child_leaves_the_parents_loop_as_it_is(printed):
    assert printed(FORK) == ["here", "here"]


FORK = """
async def where(): return threading.current_thread() is threading.main_thread() and "here"
import dspex.app.app
bridge = dspex.app.app.default_app.get().bridge
say(bridge.run(where()))
child = os.fork()
if child:
    os.waitpid(child, 0)
    event = asyncio.Event()
    async def told():
        loop = asyncio.get_running_loop()
        threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,)).start()
        await asyncio.wait_for(event.wait(), 5)
        return await where()
    say(bridge.run(told()))
"""


def test_a_loop_that_was_given_away_runs_for_good(bridge):
    loop, heard = bridge.loop, threading.Event()
    assert bridge.run(loop_here()) == (loop, thread_of(bridge))
    loop.call_soon_threadsafe(heard.set)
    assert heard.wait(5)


async def test_while_it_is_kept_a_loop_that_stood_runs(bridge):
    loop, _ = await asyncio.to_thread(bridge.run, loop_here())
    assert not loop.is_running()
    with bridge.kept():
        pong = asyncio.run_coroutine_threadsafe(loop_here(), loop)
        assert (await asyncio.wrap_future(pong))[0] is loop


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_an_error_of_any_kind_comes_out_and_the_next_call_is_as_before(bridge, error):
    async def fails():
        raise error("no")

    with pytest.raises(error, match="no"):
        bridge.run(fails())
    assert bridge.run(loop_here())[1] is threading.current_thread()


class Rung(KeyboardInterrupt):
    """What a handler of the user's raises."""


def test_what_a_signal_handler_of_the_users_raises_cancels_the_call(bridge):
    ended = []

    def ring(*_signal):
        raise Rung

    async def rings():
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    before = signal.signal(signal.SIGUSR1, ring)
    try:
        with pytest.raises(Rung):
            bridge.run(rings())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended == ["cancelled"]
    assert bridge.run(loop_here())[1] is threading.current_thread()


def test_ctrl_c_cancels_the_call_and_leaves_pythons_own_handler(bridge):
    ended = []

    async def interrupted():
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        bridge.run(interrupted())
    assert ended == ["cleaned up"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert bridge.run(loop_here())[1] is threading.current_thread()


@pytest.mark.parametrize("fails", [False, True])
def test_a_second_ctrl_c_does_not_wait_for_a_call_that_will_not_end(bridge, fails):
    ended = []

    async def stubborn():
        loop, token = asyncio.get_running_loop(), OF_A_CALL.set("set")
        loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            OF_A_CALL.reset(token)
            ended.append("in its own context")
            if fails:
                raise ValueError

    with pytest.raises(KeyboardInterrupt):
        bridge.run(stubborn())
    assert ended == ["in its own context"]


async def test_a_cancellation_that_comes_just_before_a_call_ends_it(bridge):
    async def cancelled():
        asyncio.current_task().cancel()  # as Ctrl-C does, at any line of the caller's
        bridge.run(asyncio.Event().wait())

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(cancelled())
