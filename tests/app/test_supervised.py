"""Background work of an App: kept alive, told about, and ended with it."""

import asyncio

import dspex
from dspex.core.events import ChildRestarted


async def test_a_child_that_dies_is_back_and_subscribers_hear_of_it():
    lives: list[int] = []
    again = asyncio.Event()
    heard: list[object] = []

    async def child():
        lives.append(1)
        if len(lives) == 1:
            raise OSError("disk gone")
        again.set()
        await asyncio.Event().wait()

    async with dspex.App() as app:
        app.bus.subscribe(heard.append, "test")
        app.supervise("writer", child)
        await asyncio.wait_for(again.wait(), 5)
        assert str(app.tree()[-1]) == "writer: running, 1 restarts, OSError: disk gone"
    restarts = [event for event in heard if isinstance(event, ChildRestarted)]
    assert [(event.child, event.error, event.restarts) for event in restarts] == [("writer", "OSError", 1)]


async def test_an_app_that_closes_at_once_leaves_no_child_behind():
    async with dspex.App() as app:
        app.supervise("late", asyncio.Event().wait)
        await asyncio.sleep(0)
    assert [row.state for row in app.tree()] == ["stopped"]
