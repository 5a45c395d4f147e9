"""What carries dspex's context into threads that the user starts."""

from collections.abc import Callable
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def carry(function: Callable[P, T]) -> Callable[P, T]:
    """`function` with the context of this place around it, for threads and executors that are not dspex's own.

    Settings, budgets, usage, trace and whatever else is in context variables go along: `pool.map(dspex.carry(f), items)`.
    Each call has a copy of its own, so calls side by side leave nothing to each other and nothing here.
    """
    context = copy_context()

    def carried(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.copy().run(function, *args, **kwargs)

    return carried
