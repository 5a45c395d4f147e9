"""module: a plain function as a module, with the modules among its defaults as its parts."""

import copy
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from dspex.core.errors import ConfigurationError
from dspex.program.module import Module
from dspex.runtime.worker_threads import in_thread

P = ParamSpec("P")
R = TypeVar("R")


class FunctionModule(Module, Generic[P, R]):
    """What `module` makes of a function; its parts are attributes under their arguments' names."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        functools.update_wrapper(self, function)
        self._title = function.__name__
        self._function = function
        parts = {
            name: one.default
            for name, one in inspect.signature(function).parameters.items()
            if isinstance(one.default, Module)
        }
        if taken := [name for name in parts if hasattr(Module, name)]:
            raise ConfigurationError(
                f"{self._title}: no part may be called {taken[0]!r}, as every module has that itself."
            )
        self._names = tuple(parts)
        # Copies, so that what one program's optimizer does is not done to another that has the same default.
        vars(self).update(copy.deepcopy(parts))

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
        async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def aforward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function with this module's parts: a sync one in a thread."""
        parts = {name: vars(self)[name] for name in self._names if name not in kwargs}
        run = (
            self._function
            if inspect.iscoroutinefunction(self._function)
            else functools.partial(in_thread, self._function)
        )
        return await run(*args, **{**parts, **kwargs})

    def _traits(self) -> Mapping[str, Any]:
        return {"function": self._function}


@overload
def module(function: Callable[P, Awaitable[R]]) -> FunctionModule[P, R]: ...
@overload
def module(function: Callable[P, R]) -> FunctionModule[P, R]: ...
def module(function: Callable[..., Any]) -> Any:
    """Make a module of a function, sync or async: `@dspex.module` above its `def`.

    The modules among its arguments' defaults are its parts: copies that are found, optimised, saved and streamed as those of
    any other module, and that a call may replace by keyword. A module that the function takes from elsewhere works,
    but is no part. Raises ConfigurationError for what is no function, or a part named as one of Module's own methods.
    """
    if not inspect.isfunction(function):
        raise ConfigurationError(f"@dspex.module stands above a function, not a {type(function).__name__}.")
    return FunctionModule(function)
