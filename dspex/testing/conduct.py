"""What is asked of a plugin of any kind: it holds no loop, ends when cancelled, leaves no task, and tells no log of a key."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dspex.runtime.watchdog import Watchdog

HOLD_S = 0.05
TRIES, MOST = 5, 3  # a busy machine holds up a step now and then, and now and then what looks at it


async def holder(work: Callable[[], Awaitable[Any]]) -> str:
    """What holds this loop for more than 0.05 s while `work` runs, by its name and place; empty for nothing."""
    held: list[str] = []
    for number in range(TRIES):
        seen: list[str] = []
        watchdog = Watchdog(HOLD_S, lambda what, where, _seconds, seen=seen: seen.append(f"{what} ({where})"))  # type: ignore[misc]  # bound to this try
        watchdog.watch(asyncio.get_running_loop())
        try:
            await work()
        finally:
            watchdog.stop()
        held += seen[:1]
        if len(held) == MOST:
            return f"{held[0]} holds the loop: make it async, or give it a thread by asyncio.to_thread"
        if number - len(held) >= TRIES - MOST:
            break
    return ""


async def cancelled(work: Awaitable[Any], turns: int, limit_s: float) -> bool:
    """Whether `work` was still going on after so many turns of the loop, when it is cancelled: it has to end so, and at once."""
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    is_asked = task.cancel()
    done, _ = await asyncio.wait([task], timeout=limit_s)
    assert done, f"cancelled in turn {turns}, it goes on"
    assert task.cancelled() is is_asked, f"cancelled in turn {turns}, it made something else of it: {task!r:.300}"
    return is_asked


def going_on() -> list[str]:
    """The tasks of this loop beside the one that asks."""
    return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]


@contextmanager
def logged() -> Iterator[list[str]]:
    """What is logged by the standard library meanwhile, at any level."""
    lines: list[str] = []
    handler, root = logging.Handler(), logging.getLogger()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]  # a handler is made of this alone
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
