"""What subscribers are told; each struct is one thing that happened."""

from typing import Any

import msgspec

from dspex.core.usage import Usage


class Event(msgspec.Struct, frozen=True, tag=True):
    """Base of all events: `at` is wall-clock time, `request` numbers the logical call in its process.

    `path`, where an event has it, names the modules that are running, outermost first.
    """

    at: float
    request: int = 0


class RequestStarted(Event, frozen=True):
    """A logical call to a model begins."""

    provider: str = ""
    model: str = ""
    path: tuple[str, ...] = ()


class RequestFinished(Event, frozen=True):
    """A logical call ended; `error` names the error's class, `cached` says that nothing was paid."""

    provider: str = ""
    model: str = ""
    seconds: float = 0.0
    attempts: int = 0
    cached: bool = False
    usage: Usage | None = None
    error: str | None = None
    path: tuple[str, ...] = ()


class AttemptFailed(Event, frozen=True):
    """One attempt failed; `wait` is the time before the next one, None when there is none."""

    provider: str = ""
    model: str = ""
    attempt: int = 0
    error: str = ""
    wait: float | None = None
    path: tuple[str, ...] = ()


class BreakerChanged(Event, frozen=True):
    """The circuit breaker of an endpoint opened, and its first probe comes after `wait` seconds; or it closed again."""

    provider: str = ""
    model: str = ""
    is_open: bool = False
    wait: float = 0.0


class BudgetRefused(Event, frozen=True):
    """An attempt was not sent as it would pass a budget; `limit` and `spent` are in its `unit`."""

    provider: str = ""
    model: str = ""
    unit: str = ""
    limit: float = 0.0
    spent: float = 0.0
    path: tuple[str, ...] = ()


class SecretAsked(Event, frozen=True):
    """A plugin's secret source was asked for the key of that name, and whether it has it."""

    name: str = ""
    source: str = ""
    found: bool = False


class LoopBlocked(Event, frozen=True):
    """Something held an event loop, `seconds` so far; `what` is its function, `where` its file and line."""

    what: str = ""
    where: str = ""
    seconds: float = 0.0


class ChildRestarted(Event, frozen=True):
    """A supervised child died and was started again."""

    child: str = ""
    error: str = ""
    restarts: int = 0


class CacheFailed(Event, frozen=True):
    """The cache could not read or write; the call went on as a miss."""

    backend: str = ""
    error: str = ""


class StepFinished(Event, frozen=True):
    """A step of a compile ended, executed or replayed."""

    run: str = ""
    key: str = ""
    kind: str = ""
    replayed: bool = False


class Progressed(Event, frozen=True):
    """How far a job or an evaluation is."""

    run: str = ""
    phase: str = ""
    done: int = 0
    total: int | None = None
    detail: dict[str, Any] = {}
