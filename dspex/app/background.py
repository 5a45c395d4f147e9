"""What an App keeps alive beside its calls: supervised children, and the watch over its loops."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING

from dspex.core.clock import Clock
from dspex.core.events import ChildRestarted, LoopBlocked
from dspex.core.warn import warn
from dspex.runtime.bus import Bus
from dspex.service.under_way import UnderWay

if TYPE_CHECKING:
    from dspex.core.errors import SupervisorFailed
    from dspex.runtime.supervisor import ChildSpec, Restart, Supervisor
    from dspex.runtime.watchdog import Watchdog


class Background:
    """The supervised children of an App; one that is given up ends all calls, unless somebody else is told of it."""

    def __init__(self, clock: Clock, bus: Bus, under_way: UnderWay) -> None:
        self._clock = clock
        self._bus = bus
        self._under_way = under_way
        self._is_on = False
        self._adding: set[asyncio.Task[None]] = set()
        self._watchdog: Watchdog | None = None

    @cached_property
    def supervisor(self) -> "Supervisor":
        """The root of the children."""
        from dspex.runtime.supervisor import Supervisor

        # Per child, so that one cause that kills many of them once is no storm.
        return Supervisor(
            "app", per_child=True, clock=self._clock, on_restart=self._restarted, on_failure=self._gave_up
        )

    def supervise(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        start: Callable[[], Awaitable[None]],
        restart: "Restart",
        on_failure: Callable[["SupervisorFailed"], None] | None,
    ) -> None:
        """As App.supervise; the child lives on that loop."""
        from dspex.runtime.supervisor import ChildSpec

        spec = ChildSpec(name, start, restart, on_failure=on_failure)
        loop.call_soon_threadsafe(self._begin, spec)

    def _begin(self, spec: "ChildSpec") -> None:
        task = asyncio.get_running_loop().create_task(self._add(spec))
        self._adding.add(task)
        task.add_done_callback(self._adding.discard)

    async def _add(self, spec: "ChildSpec") -> None:
        if not self._is_on:
            self._is_on = True
            self.__dict__.pop("supervisor", None)
            await self.supervisor.start()
        await self.supervisor.remove(spec.name)
        self.supervisor.add(spec)

    async def settled(self) -> None:
        """All children that were asked for on this loop have begun: one that had not would outlive the supervisor."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(task for task in self._adding if task.get_loop() is loop), return_exceptions=True)

    async def end_jobs(self) -> None:
        """Stop the jobs, which would make ever more calls."""
        for spec in self.supervisor.children if self._is_on else ():
            if spec.restart == "temporary":
                await self.supervisor.remove(spec.name)

    async def stop(self) -> None:
        """Stop all children."""
        if self._is_on:
            self._is_on = False
            await self.supervisor.stop()

    def forked(self) -> None:
        """In a forked child: the parent's children do not run here."""
        self._is_on, self._adding = False, set()
        self.__dict__.pop("supervisor", None)

    def _gave_up(self, error: "SupervisorFailed") -> None:
        why = f"This App has stopped. {error}"
        self._under_way.fail(why)
        warn(why)

    def _restarted(self, child: str, error: BaseException | None, restarts: int) -> None:
        if self._bus.active:
            what = type(error).__name__ if error is not None else "it returned"
            self._bus.publish(ChildRestarted(self._clock.now(), 0, child, what, restarts))

    # Watching loops

    def watch(self, limit: float | None) -> None:
        """Name what holds a loop for more than so many seconds; None: do not look."""
        watchdog = None if limit is None else self._new_watchdog(limit)
        before, self._watchdog = self._watchdog, watchdog
        self._under_way.watch = None if watchdog is None else watchdog.watch
        if before is not None:
            before.stop()

    def _new_watchdog(self, limit: float) -> "Watchdog":
        from dspex.runtime.watchdog import Watchdog

        def blocked(what: str, where: str, seconds: float) -> None:
            if self._bus.active:
                self._bus.publish(LoopBlocked(self._clock.now(), 0, what, where, seconds))
            # The limit and not the seconds: equal warnings are shown once.
            warn(f"{what} ({where}) holds an event loop for more than {limit:g} s: make it async, or give it a thread.")

        return Watchdog(limit, blocked)
