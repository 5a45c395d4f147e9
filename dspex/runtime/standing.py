"""Threads that stand still until another one lets them go on, and the loops that stand still with them."""

import asyncio
import threading
from contextvars import ContextVar

POLL_S = 0.05
SIGNAL_S = 1.0  # a signal that comes just before a wait begins is seen when that wait ends


def stand(gate: threading.Lock) -> None:
    """Wait for a lock that another thread releases. Raises CancelledError where the task whose loop stands here is cancelled."""
    task = None if asyncio._get_running_loop() is None else asyncio.current_task()
    if task is None:
        while not gate.acquire(timeout=SIGNAL_S):
            pass
        return
    # This loop stands still, so a cancellation of its task, as Ctrl-C in asyncio.run is one, must be looked for; also one that came just
    # before and that the task has not heard of.
    before = task.cancelling()
    while not gate.acquire(timeout=POLL_S):
        if task.cancelling() > before or getattr(task, "_must_cancel", False):
            raise asyncio.CancelledError


# Loops whose threads wait for this call, so that what their tasks hold will not be given back meanwhile.
STANDING: ContextVar[frozenset[asyncio.AbstractEventLoop]] = ContextVar("dspex_standing", default=frozenset())


class LoopCounts:
    """How much belongs to each loop; guarded by its owner's lock."""

    def __init__(self) -> None:
        self._counts: dict[asyncio.AbstractEventLoop, int] = {}

    def change(self, by: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Count for a loop, the running one if none is given."""
        loop = loop or asyncio.get_running_loop()
        count = self._counts.get(loop, 0) + by
        if count:
            self._counts[loop] = count
        else:
            self._counts.pop(loop, None)

    @property
    def stands(self) -> bool:
        """Whether anything belongs to a loop that stands still until the caller is done."""
        return any(loop in self._counts for loop in STANDING.get())
