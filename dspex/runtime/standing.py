"""A thread that stands still until another one lets it go on."""

import asyncio
import threading

POLL_S = 0.05


def stand(gate: threading.Lock) -> None:
    """Wait for a lock that another thread releases. Raises CancelledError where the task whose loop stands here is cancelled."""
    task = None if asyncio._get_running_loop() is None else asyncio.current_task()
    if task is None:
        gate.acquire()
        return
    # This loop stands still, so a cancellation of its task, as Ctrl-C in asyncio.run is one, must be looked for.
    before = task.cancelling()
    while not gate.acquire(timeout=POLL_S):
        if task.cancelling() > before:
            raise asyncio.CancelledError
