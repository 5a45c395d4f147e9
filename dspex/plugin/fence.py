"""What stands around the code of plugins while they are discovered: a thread, a bound of time, and firm ground."""

import threading
from collections.abc import Callable
from contextlib import closing
from contextvars import ContextVar, copy_context
from queue import Empty, SimpleQueue
from typing import Any

LOADING: ContextVar[bool] = ContextVar("dspex_plugin_loading", default=False)
SHOWN = 500


def fenced(work: Callable[[], None], limit_s: float) -> str:
    """Run plugin code in a thread for a bounded time; what goes wrong comes back as one line of text."""
    with closing(Fence(limit_s)) as fence:
        return fence.run(work)


class Fence:
    """A thread for plugin code, and a new one after each piece that took too long: one a plugin would be a tenth of discovery."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._todo: SimpleQueue[Callable[[], None] | None] | None = None
        self._done: SimpleQueue[str] = SimpleQueue()

    def run(self, work: Callable[[], None]) -> str:
        """As `fenced`."""
        if self._todo is None:
            self._todo, self._done = SimpleQueue(), SimpleQueue()
            threading.Thread(
                target=_serve, args=(self._todo, self._done), name="dspex-plugin-load", daemon=True
            ).start()
        self._todo.put(work)
        try:
            return self._done.get(timeout=self._limit_s)
        except Empty:
            self.close()
            return f"did not load within {self._limit_s:g} s"

    def close(self) -> None:
        """Let the thread end, once it can."""
        if self._todo is not None:
            self._todo.put(None)
            self._todo = None


def _serve(todo: "SimpleQueue[Callable[[], None] | None]", done: "SimpleQueue[str]") -> None:
    LOADING.set(True)  # the thread is its own, and so is its context
    while (work := todo.get()) is not None:
        try:
            copy_context().run(work)  # what one plugin sets there reaches no other
            outcome = ""
        except BaseException as error:  # noqa: BLE001  also SystemExit: a plugin must harm nobody else
            outcome = _told(error)
        done.put(outcome)


def _told(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())[:SHOWN]
    except Exception:  # noqa: BLE001  an error class of a plugin: even its text may fail
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Ground:
    """What all plugins stand on, pluggy, the hooks and how loops are made, as it was before the first of them."""

    def __init__(self) -> None:
        import asyncio.events

        import pluggy

        from dspex.plugin import hookspecs

        owners: tuple[Any, ...] = (pluggy, pluggy.PluginManager, pluggy.HookCaller, hookspecs)
        self._before = [(owner, dict(vars(owner))) for owner in owners]
        # Made now, as it is by who asks first: a newer Python asks by another name, and warns of this one.
        policy = getattr(asyncio.events, "_get_event_loop_policy", asyncio.events.get_event_loop_policy)()
        self._before.append((asyncio.events, {"_event_loop_policy": policy}))

    def mend(self) -> str:
        """Put back what was changed; the names, or nothing."""
        changed = []
        for owner, before in self._before:
            now = vars(owner)
            if now == before:
                continue
            for name, value in before.items():
                if now.get(name) is not value:
                    setattr(owner, name, value)
                    changed.append(f"{owner.__name__}.{name}")
        return ", ".join(changed)
