"""Middleware around a step, whatever it is asked for and gives: a guest's work, and checked as such."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from dspex.core.errors import DspexError, PluginError, ProtocolError

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
        name = type(getattr(self._middleware, "__self__", self._middleware)).__name__
        try:
            reply = await self._middleware(request, self._next)
        except DspexError:
            raise
        except Exception as error:  # the middleware is a plugin
            raise PluginError(f"The middleware {name} raised {type(error).__name__}: {error}", plugin=name) from error
        if not isinstance(reply, self._kind):
            given, wanted = type(reply).__name__, self._kind.__name__
            raise ProtocolError(f"The middleware {name} gave a {given} in place of the {wanted}.")
        return reply
