"""What stands around the code of plugins while they are discovered: a thread, a bound of time, and firm ground."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar, copy_context
from typing import Any

LOADING: ContextVar[bool] = ContextVar("dspex_plugin_loading", default=False)
SHOWN = 500


def fenced(work: Callable[[], None], limit_s: float) -> str:
    """Run plugin code in a thread for a bounded time; what goes wrong comes back as one line of text."""
    [outcome] = fenced_each([work], limit_s)
    return outcome


def fenced_each(works: Sequence[Callable[[], None]], limit_s: float) -> Iterator[str]:
    """The same for one after another, in one thread, and a new one after each that took too long.

    To hand over each by itself would be a tenth of discovery.
    """
    ended = 0
    while ended < len(works):
        row = Row(works[ended:])
        threading.Thread(target=row.run, name="dspex-plugin-load", daemon=True).start()
        row.watch(limit_s)
        yield from row.outcomes
        ended += len(row.outcomes)


class Row:
    """Pieces of plugin code that a thread runs in their order, until one takes too long."""

    def __init__(self, works: Sequence[Callable[[], None]]) -> None:
        self.outcomes: list[str] = []
        self._works = works
        self._began = time.monotonic()
        self._lock = threading.Lock()  # who holds it says what became of a piece
        self._is_given_up = False
        self._ended = threading.Event()

    def run(self) -> None:
        """Run them all; what one plugin sets in the context reaches no other."""
        LOADING.set(True)  # the thread is its own, and so is its context
        for work in self._works:
            outcome = _outcome(work)
            with self._lock:
                if self._is_given_up:
                    return
                self.outcomes.append(outcome)
                self._began = time.monotonic()
        self._ended.set()

    def watch(self, limit_s: float) -> None:
        """Wait until all have ended, or one takes longer than that, which is its outcome then."""
        while not self._ended.wait(max(0.0, self._began + limit_s - time.monotonic())):
            with self._lock:
                if len(self.outcomes) < len(self._works) and time.monotonic() >= self._began + limit_s:
                    self._is_given_up = True
                    self.outcomes.append(f"did not load within {limit_s:g} s")
                    return


def _outcome(work: Callable[[], None]) -> str:
    try:
        copy_context().run(work)
    except BaseException as error:  # noqa: BLE001  also SystemExit: a plugin must harm nobody else
        return _told(error)
    return ""


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
