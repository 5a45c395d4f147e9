"""A program in its other form: `asyncify` and `syncify`."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from dspex.app.app import current_app
from dspex.core.errors import ConfigurationError
from dspex.program.module import Module, form_of
from dspex.runtime.worker_threads import in_thread

_IN_WORKER: ContextVar[bool] = ContextVar("dspex_in_worker", default=False)


def asyncify(program: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The async form of a program or function.

    What is async already, as a Predict or a module with `aforward`, runs as it is on the caller's loop. Sync code runs in
    a thread of its own with the caller's context, at most `settings.async_max_workers` at once in the App; below one
    that runs, further ones pass at once, so that nesting cannot lock up. A thread cannot be stopped: when the call is
    cancelled, the code goes on, but its dspex calls end as cancelled.
    """
    if isinstance(program, Module):
        if form_of(program, "aforward") is not None or type(program).acall is not Module.acall:
            return program.acall
    elif inspect.iscoroutinefunction(program) or inspect.iscoroutinefunction(getattr(program, "__call__", None)):  # noqa: B004  is it async?
        return program

    @functools.wraps(program, updated=())
    async def in_worker(*args: Any, **kwargs: Any) -> Any:
        if _IN_WORKER.get():
            return await in_thread(program, *args, **kwargs)
        gate = current_app().workers()
        permit = await gate.acquire()
        token = _IN_WORKER.set(True)
        try:
            return await in_thread(program, *args, **kwargs)
        finally:
            _IN_WORKER.reset(token)
            gate.release(permit)

    return in_worker


def syncify(program: Any, in_place: bool = True) -> Any:
    """The sync form of a program or async function; it may be called inside a running loop too, which then waits.

    A module has both forms already and is given back as it is, or with `in_place=False` inside a module of its own,
    whose predictors bear the prefix `program.`. Raises ConfigurationError for anything else.
    """
    if isinstance(program, Module):
        return program if in_place else Synced(program)
    if not inspect.iscoroutinefunction(program):
        raise ConfigurationError(f"syncify takes a dspex.Module or an async function, not {program!r:.80}.")

    @functools.wraps(program, updated=())
    def on_bridge(*args: Any, **kwargs: Any) -> Any:
        return current_app().bridge.run(program(*args, **kwargs))

    return on_bridge


class Synced(Module):
    """A module around another."""

    def __init__(self, program: Module) -> None:
        super().__init__()
        self.program = program

    async def aforward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program within."""
        return await self.program.acall(*args, **kwargs)
