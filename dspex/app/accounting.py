"""Budgets, deadlines and usage around a block of code, whatever runs in it."""

import math
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from dspex.app.app import current_app
from dspex.core.errors import BudgetExceeded, ConfigurationError, DeadlineExceeded
from dspex.core.usage import Budget, Usage
from dspex.runtime.deadline import Deadline
from dspex.runtime.scope import SCOPE, Scope, use
from dspex.service.ledger import BudgetScope

KEPT = 1_000  # entries of one model that a tracker shows; the sums go on


@contextmanager
def budget(
    calls: int | None = None,
    tokens: int | None = None,
    usd: float | None = None,
    seconds: float | None = None,
    on_short: Literal["refuse", "stop", "fit"] = "refuse",
) -> Iterator[BudgetScope]:
    """A wall around a block: the attempt that would pass it raises BudgetExceeded and is not sent. Nested ones all apply."""
    scope = BudgetScope(Budget(calls, tokens, usd, seconds, on_short), current_app().clock)
    with use(budgets=(*SCOPE.get().budgets, scope)):
        yield scope


@contextmanager
def deadline(seconds: float) -> Iterator[Deadline]:
    """All that dspex waits for in a block ends in so many seconds: what then runs is cancelled, and nothing more is sent.

    DeadlineExceeded, a TimeoutError, is raised. Of nested ones the earliest holds. `left` of what it gives are seconds. Code of
    your own that waits for nothing of dspex's, as a loop in a function does, is not interrupted.
    Raises ConfigurationError for what is no number.
    """
    given: Any = seconds
    if not isinstance(given, (int, float)) or math.isnan(given):
        raise ConfigurationError(f"deadline({seconds!r}): it takes a number of seconds.")
    clock, outer = current_app().clock, SCOPE.get().deadline
    mine = Deadline(clock, seconds, clock.monotonic() + seconds)
    earliest = mine if outer is None or mine.left < outer.left else outer
    with use(deadline=earliest):
        yield earliest


def is_wall(error: BudgetExceeded, scope: Scope) -> bool:
    """Whether it is the App's budget, or one or the deadline of this scope, and not what a program opens for itself within."""
    if isinstance(error, DeadlineExceeded):
        return scope.deadline is not None and scope.deadline.is_over
    walls = [current_app().settings.own("budget"), *(one.limits for one in scope.budgets)]
    return any(isinstance(wall, Budget) and getattr(wall, error.unit) == error.limit for wall in walls)


class UsageTracker:
    """Tokens by model of the calls that were paid in a block, over all its tasks and threads.

    `add_usage` counts what was paid without an LM of dspex's. `usage_data` has the last thousand calls of each model.
    """

    def __init__(self) -> None:
        self._by_model: dict[str, Usage] = {}
        self._said: dict[str, dict[str, Any]] = {}
        self._entries: dict[str, deque[Usage | dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def add(self, model: str, usage: Usage) -> None:
        """Count one call and its reply."""
        with self._lock:
            self._by_model[model] = self._by_model.get(model, Usage()) + usage + Usage(calls=max(0, 1 - usage.calls))
            self._enter(model, usage)

    def add_usage(self, lm: str, usage_entry: Mapping[str, Any]) -> None:
        """Count one call by what its provider said: `prompt_tokens`, `completion_tokens` and whatever else; numbers are added up."""
        if not usage_entry:
            return
        entry = _plain(usage_entry)
        with self._lock:
            self._said[lm] = _added(self._said.get(lm), entry)
            self._enter(lm, entry)

    def _enter(self, model: str, entry: Usage | dict[str, Any]) -> None:
        entries = self._entries.get(model)
        if entries is None:
            entries = self._entries[model] = deque(maxlen=KEPT)
        entries.append(entry)

    @property
    def usage_data(self) -> dict[str, list[dict[str, Any]]]:
        """The last calls of each model under DSPy's keys, oldest first."""
        with self._lock:
            entries = {model: list(kept) for model, kept in self._entries.items()}
        return {
            model: [one.to_dict() if isinstance(one, Usage) else dict(one) for one in kept]
            for model, kept in entries.items()
        }

    @property
    def total(self) -> Usage:
        """The sum over all models."""
        counted, said = self._all()
        return sum((*counted.values(), *map(_usage, said.values())), Usage())

    def _all(self) -> tuple[dict[str, Usage], dict[str, dict[str, Any]]]:
        with self._lock:
            return dict(self._by_model), dict(self._said)

    def get_total_tokens(self) -> dict[str, dict[str, Any]]:
        """Tokens by model, under DSPy's keys, and under those of what `add_usage` was given."""
        counted, said = self._all()
        totals = {model: usage.to_dict() for model, usage in counted.items()}
        return totals | {model: _added(totals.get(model), entry) for model, entry in said.items()}


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """With dictionaries in the place of mappings and of models, as clients of providers have them."""
    return {name: _plain_value(value) for name, value in entry.items()}


def _plain_value(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    return _plain(value) if isinstance(value, Mapping) else value


def _added(one: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, Any]:
    """Numbers added, also in what is nested; of all else, a flag among them, the first that is something stays."""
    total = dict(one or {})
    for name, value in (other or {}).items():
        before = total.get(name)
        if isinstance(before, dict) or isinstance(value, dict):
            total[name] = _added(before or {}, value or {})
        elif before is None:
            total[name] = value
        elif _is_count(before) and _is_count(value):
            total[name] = before + value
    return total


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _usage(entry: Mapping[str, Any]) -> Usage:
    asked, answered = entry.get("prompt_tokens") or 0, entry.get("completion_tokens") or 0
    return Usage(int(asked), int(answered))


@contextmanager
def track_usage() -> Iterator[UsageTracker]:
    """Count what the block pays for; cache hits count nothing."""
    tracker = UsageTracker()
    with use(trackers=(*SCOPE.get().trackers, tracker)):
        yield tracker
