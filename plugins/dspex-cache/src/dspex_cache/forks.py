"""What a forked child must not take over: locks that nobody will release, threads that are not there, open files."""

import os
import weakref
from collections.abc import Callable


def after_fork(reset: Callable[[], None]) -> None:
    """Call a bound method in every child forked from now on, for as long as its object lives.

    A check of the process id at each use would come too late for a lock that another thread held during the fork.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_weak(reset))


def around_fork(before: Callable[[], None], in_parent: Callable[[], None], in_child: Callable[[], None]) -> None:
    """Call bound methods before each fork and after it, in the thread that forks, for as long as their object lives."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_weak(before), after_in_parent=_weak(in_parent), after_in_child=_weak(in_child))


def _weak(call: Callable[[], None]) -> Callable[[], None]:
    method = weakref.WeakMethod(call)

    def found() -> None:
        alive = method()
        if alive is not None:
            alive()

    return found
