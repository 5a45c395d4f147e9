"""Virtual time: an event loop whose clock jumps when nothing can happen, so that a day of waiting takes milliseconds.

Threads (`asyncio.to_thread`, and those that sync code of a program runs in) run in real time, during which virtual time
stands still. Sockets are refused: a double
stands at the provider or at the HTTP client.
"""

import asyncio
import math
import random
import selectors
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, NoReturn, TypeVar, TypeVarTuple

from dspex.runtime.worker_threads import WORK

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
THREAD_POLL_S = 0.05
SECONDS_LIMIT = 1e8  # three years: beyond it some timer starts itself again for ever


class Deadlock(RuntimeError):
    """All tasks wait and no timer is set, so nothing can ever happen; the message names the tasks."""


class VirtualClock:
    """The `Clock` of a simulation: both of its clocks follow the running loop, the wall clock from a fixed date on."""

    def now(self) -> float:
        return 1_800_000_000.0 + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def simulate(main: Callable[[], Coroutine[Any, Any, T]], seed: int = 0) -> tuple[T, float]:
    """Run `main()` in virtual time, called outside any loop; gives its result and the virtual seconds it took.

    Timers of one instant fire in an order that depends on the seed; the same seed gives the same run. Raises Deadlock.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main()), runner.get_loop().time()


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop of `simulate`; `seconds` is its time, `threads` counts the work that threads have not given back."""

    def __init__(self, seed: int = 0) -> None:
        self.seconds = 0.0
        self.threads = 0
        self._random = random.Random(seed)
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.seconds

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return super().call_at(when + self._random.random() * 1e-6, callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self.threads += 1
        future.add_done_callback(lambda _: setattr(self, "threads", self.threads - 1))
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        self.threads += 1  # a thread joins the workers meanwhile, and the real timeout must not pass in virtual time
        await super().shutdown_default_executor()
        self.threads -= 1

    async def create_connection(self, *args: object, **options: object) -> NoReturn:
        raise RuntimeError("A simulation opens no sockets: put a double at the provider or at the HTTP client.")

    create_server = create_connection


def _has_work() -> bool:
    return any(thread.name.startswith(WORK) for thread in threading.enumerate())


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self._loop
        has_threads = timeout != 0 and (loop.threads > 0 or _has_work())
        ready = super().select(THREAD_POLL_S if has_threads else 0)
        if ready or timeout == 0 or has_threads:
            return ready
        if timeout is None or loop.seconds > SECONDS_LIMIT:
            tasks = sorted(f"\n  {task.get_name()}: {task.get_coro()}" for task in asyncio.all_tasks(loop))
            raise Deadlock(f"After {loop.seconds:g} s nothing can happen any more, yet these wait:{''.join(tasks)}")
        # One step beyond: far from zero the loop's own tolerance of 1e-9 is lost in rounding, and it would spin.
        loop.seconds = math.nextafter(loop.seconds + timeout, math.inf)
        return ready
