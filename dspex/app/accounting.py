"""Budgets, deadlines and usage around a block of code, whatever runs in it."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from dspex.app.app import current_app
from dspex.core.errors import BudgetExceeded, ConfigurationError, DeadlineExceeded
from dspex.core.usage import Budget, Usage
from dspex.runtime.deadline import Deadline
from dspex.runtime.scope import SCOPE, Scope, use
from dspex.service.ledger import BudgetScope


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
    """Tokens by model of the calls that were paid in a block, over all its tasks and threads."""

    def __init__(self) -> None:
        self._by_model: dict[str, Usage] = {}
        self._lock = threading.Lock()

    def add(self, model: str, usage: Usage) -> None:
        """Count one call and its reply."""
        with self._lock:
            self._by_model[model] = self._by_model.get(model, Usage()) + usage + Usage(calls=max(0, 1 - usage.calls))

    @property
    def total(self) -> Usage:
        """The sum over all models."""
        return sum(self._all().values(), Usage())

    def _all(self) -> dict[str, Usage]:
        with self._lock:
            return dict(self._by_model)

    def get_total_tokens(self) -> dict[str, dict[str, Any]]:
        """Tokens by model, under DSPy's keys."""
        return {model: usage.to_dict() for model, usage in self._all().items()}


@contextmanager
def track_usage() -> Iterator[UsageTracker]:
    """Count what the block pays for; cache hits count nothing."""
    tracker = UsageTracker()
    with use(trackers=(*SCOPE.get().trackers, tracker)):
        yield tracker
