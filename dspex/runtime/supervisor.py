"""Supervision as OTP means it: children are restarted when they die, and one that dies too often ends its supervisor."""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from dspex.core.clock import Clock, SystemClock
from dspex.core.errors import ConfigurationError, SupervisorFailed, Unavailable

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Restart = Literal["permanent", "transient", "temporary"]
KILL_GRACE_S = 1.0  # for a child that outlived its shutdown time and was cancelled once more


class ChildSpec(msgspec.Struct, frozen=True):
    """A child: `start` gives the coroutine that is its whole life, a new one at each start.

    A permanent child is started again however it ended, a transient one unless it returned, a temporary one never.
    `shutdown` is the time it has to end once cancelled, in seconds, None for as long as it takes. One that dies too often
    ends its supervisor; with `on_failure` it stays down alone, and `on_failure(error)` is told. `as_child` sets `nested`.
    """

    name: str
    start: Callable[[], Awaitable[Any]]
    restart: Restart = "permanent"
    shutdown: float | None = 5.0
    nested: "Supervisor | None" = None
    on_failure: Callable[[SupervisorFailed], object] | None = None


class Row(msgspec.Struct, frozen=True):
    """A line of `Supervisor.tree()`; `state` is running, ended, failed, stopped or stuck; `error` is the last one."""

    name: str
    state: str
    restarts: int
    error: str
    depth: int = 0

    def __str__(self) -> str:
        restarts = f", {self.restarts} restarts" if self.restarts else ""
        return f"{'  ' * self.depth}{self.name}: {self.state}{restarts}{f', {self.error}' if self.error else ''}"


@dataclass(slots=True, eq=False)
class _Child:
    spec: ChildSpec
    state: str = "stopped"
    restarts: int = 0
    error: BaseException | None = None
    task: asyncio.Task[BaseException | None] | None = None
    restarted: deque[float] = field(default_factory=deque)

    async def live(self) -> BaseException | None:
        try:
            await self.spec.start()
        except (Exception, asyncio.CancelledError, SystemExit, GeneratorExit) as error:  # noqa: BLE001
            return error  # a death is a value; what follows from it is the supervisor's to say
        return None


class Supervisor:
    """Runs children in tasks of its own, on one loop, in order, depth first; stops them in reverse order.

    When more than `intensity` restarts within `period` seconds are needed it stops all children and raises
    SupervisorFailed, to its parent where it is a child itself; `on_failure(error)` is told. With `per_child` the restarts
    of each child are counted apart, as if each had a supervisor of its own. `on_restart(name, error, restarts)` is told
    of each restart. Its methods belong to its loop's thread.
    """

    def __init__(
        self,
        name: str,
        *,
        strategy: Strategy = "one_for_one",
        intensity: int = 3,
        period: float = 5.0,
        per_child: bool = False,
        clock: Clock | None = None,
        on_restart: Callable[[str, BaseException | None, int], object] | None = None,
        on_failure: Callable[[SupervisorFailed], object] | None = None,
    ) -> None:
        self.name = name
        self.strategy = strategy
        self.intensity = intensity
        self.period = period
        self.per_child = per_child
        self._clock = clock or SystemClock()
        self._on_restart = on_restart
        self._on_failure = on_failure
        self._children: dict[str, _Child] = {}
        self._waiters: set[asyncio.Future[Any]] = set()
        self._main: asyncio.Task[BaseException | None] | None = None
        self._running = False
        self._reset()

    def _reset(self) -> None:
        self._died: asyncio.Queue[tuple[_Child, object]] = asyncio.Queue()
        self._turn = asyncio.Lock()
        self._restarted: deque[float] = deque()
        self._ended: BaseException | None = None
        self._context = copy_context()  # children live in that of the start: one added by a request must not keep its

    async def start(self) -> None:
        """Start all children; each has run up to its first wait when this returns."""
        if not self._running:
            self._open()
            self._main = asyncio.create_task(_Child(self.as_child()).live(), name=f"supervisor:{self.name}")
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Stop all children, each within its shutdown time, and fail what still waits."""
        if self._main is not None:
            if self._running:
                self._main.cancel()
            await asyncio.wait([self._main])

    async def run(self) -> None:
        """The supervisor's life, until it is cancelled. Raises SupervisorFailed."""
        if not self._running:
            self._open()
        try:
            while True:
                child, task = await self._died.get()
                async with self._turn:
                    if child.task is task:
                        await self._react(child)
        finally:
            self._ended = sys.exception()
            await self._close()
            if isinstance(self._ended, SupervisorFailed):
                _tell(self._on_failure, self._ended)

    def add(self, spec: ChildSpec) -> None:
        """Add a child, at the end of the order, and start it if the supervisor runs."""
        if spec.name in self._children:
            raise ConfigurationError(f"Supervisor {self.name!r} has a child {spec.name!r} already; remove it first.")
        child = self._children[spec.name] = _Child(spec)
        if self._running:
            self._launch(child)

    async def remove(self, name: str) -> None:
        """Stop a child and forget it; an absent one is no error."""
        async with self._turn:
            if child := self._children.get(name):
                await self._end(child)
                del self._children[name]

    @property
    def children(self) -> list[ChildSpec]:
        """The children's specs, in order."""
        return [child.spec for child in self._children.values()]

    def register(self, future: "asyncio.Future[Any]") -> None:
        """Fail `future` with Unavailable when this supervisor ends; call it on the future's own loop, whichever."""
        self._waiters.add(future)
        future.add_done_callback(self._waiters.discard)
        if self._ended is not None:
            self._fail_waiters()

    def as_child(self, restart: Restart = "permanent") -> ChildSpec:
        """This supervisor as a child of another; it may take as long to stop as its own children do."""
        return ChildSpec(self.name, self.run, restart, None, self)

    def tree(self, depth: int = 0) -> list[Row]:
        """A row for each child in order, those of nested supervisors below theirs."""
        rows = []
        for child in self._children.values():
            rows.append(Row(child.spec.name, child.state, child.restarts, _line(child.error), depth))
            rows += child.spec.nested.tree(depth + 1) if child.spec.nested else []
        return rows

    def _open(self) -> None:
        self._reset()
        self._running = True
        for child in self._children.values():
            self._launch(child)

    def _launch(self, child: _Child) -> None:
        if child.spec.nested is not None:
            self._context.copy().run(child.spec.nested._open)
        name, context = f"{self.name}:{child.spec.name}", self._context.copy()
        task = child.task = asyncio.create_task(child.live(), name=name, context=context)
        child.state = "running"
        died = self._died
        task.add_done_callback(lambda done: died.put_nowait((child, done)))

    async def _react(self, child: _Child) -> None:
        assert child.task is not None
        child.error = asyncio.CancelledError() if child.task.cancelled() else child.task.result()
        child.task = None
        child.state = "ended" if child.error is None else "failed"
        if isinstance(child.error, RuntimeError) and _interpreter_ends():
            return
        if child.spec.restart == "temporary":
            self._children.pop(child.spec.name)
        elif (child.spec.restart == "permanent" or child.error is not None) and self._admits(child):
            await self._restart(child)

    def _admits(self, child: _Child) -> bool:
        now, restarted = self._clock.monotonic(), self._window(child)
        while restarted and restarted[0] < now - self.period:
            restarted.popleft()
        if len(restarted) < self.intensity:
            return True
        alone = child.spec.on_failure
        what = "gave it up" if alone else "gave up and stopped its children"
        error = SupervisorFailed(
            f"Supervisor {self.name!r} {what}: {child.spec.name!r} died "
            f"({_line(child.error) or 'it returned'}) after {self.intensity} restarts in {self.period:g} s.",
            supervisor=self.name,
            child=child.spec.name,
        )
        if alone is None:
            raise error from child.error
        _tell(alone, error)
        return False

    def _window(self, child: _Child) -> deque[float]:
        return child.restarted if self.per_child else self._restarted

    async def _restart(self, child: _Child) -> None:
        everyone = list(self._children.values())
        here = everyone.index(child)
        group = {"one_for_one": [child], "one_for_all": everyone, "rest_for_one": everyone[here:]}[self.strategy]
        for other in reversed(group):
            await self._end(other)
            if other.spec.restart == "temporary":
                self._children.pop(other.spec.name)
        for other in group:
            if other.spec.name in self._children:
                self._launch(other)
        child.restarts += 1
        self._window(child).append(self._clock.monotonic())
        _tell(self._on_restart, child.spec.name, child.error, child.restarts)

    async def _end(self, child: _Child) -> None:
        nested = child.spec.nested
        if (task := child.task) is not None:
            told = task.cancelling() or (nested is not None and not nested._running)
            for limit in (child.spec.shutdown, KILL_GRACE_S):
                if not told:
                    task.cancel()
                if (await asyncio.wait([task], timeout=limit))[0]:
                    break
                told = False
            child.state = "stopped" if task.done() else "stuck"
            child.task = None
        if nested is not None:  # cancelled before its first step, it had no chance to do so itself
            await nested._close()

    async def _close(self) -> None:
        self._running = False
        everyone = list(self._children.values())
        try:
            async with self._turn:
                for child in reversed(everyone):
                    await self._end(child)
        finally:
            for task in filter(None, [child.task for child in everyone]):
                task.cancel()  # told to stop a second time, nobody gets more time
            self._fail_waiters()

    def _fail_waiters(self) -> None:
        gave_up = isinstance(self._ended, SupervisorFailed)
        message = str(self._ended) if gave_up else f"{self.name!r} was stopped while this call waited for it."
        for future in tuple(self._waiters):
            with suppress(RuntimeError):  # its loop is closed, so nobody waits
                future.get_loop().call_soon_threadsafe(_fail, future, Unavailable(message))


def _interpreter_ends() -> bool:
    """Whether the process is at its end, where threads take no more work: a child that needs one dies of that.

    `sys.is_finalizing` tells it much later, and the loop of the bridge runs on in between.
    """
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(int)
    except RuntimeError:
        return True
    return False


def _line(error: BaseException | None) -> str:
    return "" if error is None else f"{type(error).__name__}: {error}".rstrip(": ")


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _tell(callback: Callable[..., object] | None, *facts: object) -> None:
    try:
        if callback is not None:
            callback(*facts)
    except Exception as error:  # noqa: BLE001  whoever listens must not bring down what is supervised
        asyncio.get_running_loop().call_exception_handler({"message": "a supervisor's callback", "exception": error})
