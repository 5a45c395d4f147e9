"""The watchdog names what holds an event loop; unasked it is not there."""

import asyncio
import threading
import time

import pytest

import dspex
from dspex.core.events import LoopBlocked
from dspex.plugin import LMResponse
from dspex.plugin.manager import PluginManager

LONGEST_S = 10.0


class Fine:
    async def complete(self, request):
        return LMResponse.from_text("[[ ## answer ## ]]\n4")


class Careless:
    def __init__(self, heard):
        self.heard = heard

    async def complete(self, request):
        ends = time.monotonic() + LONGEST_S
        while not blocked(self.heard) and time.monotonic() < ends:
            time.sleep(0.01)  # noqa: ASYNC251  that is the fault
        return LMResponse.from_text("4")


def blocked(heard):
    """What subscribers were told of loops that are held."""
    return [event for event in heard if isinstance(event, LoopBlocked)]


def app(**settings):
    return dspex.App(plugins=PluginManager(lambda: ()), **settings)


@pytest.fixture
def heard():
    return []


async def held_by(work, heard, limit=0.05):
    async with app(watchdog=limit) as one:
        one.bus.subscribe(heard.append, "test")
        await dspex.LM("x/y", provider=Fine()).acall("2+2?")  # from the first call on its loop is watched
        await work()
        await asyncio.sleep(0.03)
    return blocked(heard)


@pytest.mark.fault("P16")
async def test_what_holds_a_loop_is_named_once_with_its_place(heard):
    def metric():
        ends = time.monotonic() + LONGEST_S
        while not blocked(heard) and time.monotonic() < ends:
            time.sleep(0.01)

    async def program():
        metric()

    with pytest.warns(RuntimeWarning, match=r"metric \(.*test_watchdog\.py:\d+.* holds an event loop"):
        [event] = await held_by(program, heard)
    assert event.what.endswith("metric")
    assert event.where.rpartition(":")[0].endswith("test_watchdog.py")
    assert 0.04 < event.seconds < LONGEST_S


@pytest.mark.fault("P16")
async def test_a_provider_that_holds_the_loop_is_named(heard):
    lm = dspex.LM("x/z", provider=Careless(heard))
    with pytest.warns(RuntimeWarning, match=r"Careless\.complete"):
        [event] = await held_by(lambda: lm.acall("2+2?"), heard)
    assert event.what == "Careless.complete"


async def test_many_short_steps_and_work_in_threads_hold_nothing(heard):
    async def busy():
        await asyncio.to_thread(time.sleep, 0.1)
        for _ in range(100):
            time.sleep(0.001)  # noqa: ASYNC251  short ones, one after the other
            await asyncio.sleep(0)

    assert await held_by(busy, heard) == []


def test_the_loop_of_sync_calls_is_watched_too(heard):
    with dspex.context():
        one = dspex.app.app.default_app.get()
        dspex.configure(watchdog=0.05)
        one.bus.subscribe(heard.append, "test")
        with pytest.warns(RuntimeWarning, match=r"Careless\.complete"):
            dspex.LM("x/z", provider=Careless(heard))("2+2?")


async def test_unasked_and_afterwards_there_is_no_thread():
    def threads():
        return [thread.name for thread in threading.enumerate() if "watchdog" in thread.name]

    async with app():
        await dspex.LM("x/y", provider=Fine()).acall("2+2?")
        assert threads() == []
    async with app(watchdog=1.0) as one:
        await dspex.LM("x/y", provider=Fine()).acall("2+2?")
        assert threads() == ["dspex-watchdog"]
        one.configure(watchdog=None)
        assert threads() == []


@pytest.mark.parametrize("limit", [0, -1.0])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(dspex.ConfigurationError, match="watchdog="):
        app(watchdog=limit)
