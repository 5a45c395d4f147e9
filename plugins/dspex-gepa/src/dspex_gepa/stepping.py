"""Functions of the user's as steps of a run, which are journalled and not called again by a replay."""

import inspect
from collections.abc import Callable
from typing import Any

from dspex import context


def bound(call: Any, *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """What `ctx.compute` runs: the call with all that it is given, which need not be JSON data; sync, async or a module."""
    target = getattr(call, "acall", call)
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(type(target).__call__):

        async def asynchronous(*_identity: Any) -> Any:
            return await target(*args, **kwargs)

        return asynchronous

    def synchronous(*_identity: Any) -> Any:
        return target(*args, **kwargs)

    return synchronous


def fenced(step: Callable[..., Any], read: Callable[[Any], Any]) -> Callable[..., Any]:
    """The step with its result read, as `{"value": ...}`, or what it raised, as `{"error": ...}`."""
    if inspect.iscoroutinefunction(step):

        async def asynchronous(*identity: Any) -> dict[str, Any]:
            try:
                return {"value": read(await step(*identity))}
            except Exception as error:  # noqa: BLE001  the user's code: one proposal or comment is lost, not the run
                return {"error": f"{type(error).__name__}: {error}"}

        return asynchronous

    def synchronous(*identity: Any) -> dict[str, Any]:
        try:
            return {"value": read(step(*identity))}
        except Exception as error:  # noqa: BLE001  as above
            return {"error": f"{type(error).__name__}: {error}"}

    return synchronous


def under(lm: Any, step: Callable[..., Any]) -> Callable[..., Any]:
    """The step with this model as the settings' one; None leaves them as they are."""
    if lm is None:
        return step
    if inspect.iscoroutinefunction(step):

        async def asynchronous(*identity: Any) -> Any:
            with context(lm=lm):
                return await step(*identity)

        return asynchronous

    def synchronous(*identity: Any) -> Any:
        with context(lm=lm):
            return step(*identity)

    return synchronous
