"""Middleware around a step, whatever it is asked for and gives: a guest's work, and checked as such."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from dspex.core.errors import DspexError, PluginError, ProtocolError
from dspex.core.guests import PASSING

Asked = TypeVar("Asked")
Given = TypeVar("Given")


class Wrapped(Generic[Asked, Given]):
    """A middleware around the next step; what it gives back must be of the `kind` of reply."""

    __slots__ = ("_kind", "_middleware", "_next")

    def __init__(self, middleware: Any, call_next: Callable[[Asked], Awaitable[Given]], kind: type[Given]) -> None:
        self._middleware = middleware
        self._next = call_next
        self._kind = kind

    async def __call__(self, request: Asked) -> Given:
        name = name_of(self._middleware)
        try:
            reply = await self._middleware(request, self._next)
        except (DspexError, *PASSING):
            raise
        except BaseException as error:  # the middleware is a plugin, and may raise what ends programs
            raise fault_of(name, error) from error
        if not isinstance(reply, self._kind):
            given, wanted = type(reply).__name__, self._kind.__name__
            raise ProtocolError(f"The middleware {name} gave a {given} in place of the {wanted}.")
        return reply


def name_of(step: Any) -> str:
    """What a middleware is called: a function by its name, an object or its method by its class."""
    owner = getattr(step, "__self__", step)
    return str(getattr(owner, "__qualname__", type(owner).__qualname__)).rpartition(".")[2]


def fault_of(name: str, error: BaseException) -> PluginError:
    """What becomes of an error that is none of ours."""
    return PluginError(
        f"The middleware {name} raised {type(error).__name__}: {error}. It may raise dspex's errors only; "
        "configure(middleware=[...]) names those to use, and DSPEX_PLUGINS=no:NAME leaves a plugin out.",
        plugin=name,
    )
