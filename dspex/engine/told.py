"""A `compile` of an optimizer's own, of which callbacks hear as they do of the engine's."""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from dspex.app.app import current_app
from dspex.runtime.callbacks import Emission

# The optimizers whose compile runs here: where one calls that of the class above, callbacks hear of it once.
_RUNNING: ContextVar[tuple[int, ...]] = ContextVar("dspex_compiles", default=())


def is_told(optimizer: Any) -> bool:
    """Whether callbacks have heard of the compile that this is a part of."""
    return id(optimizer) in _RUNNING.get()


def told(compile: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, sync or async, between `on_compile_start` and `on_compile_end`; not again inside of itself."""
    form = inspect.signature(compile)

    def emission(optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Emission:
        app = current_app()
        bound = form.bind(optimizer, *args, **kwargs)
        bound.apply_defaults()
        first, *_ = form.parameters
        rest = next((name for name, one in form.parameters.items() if one.kind is one.VAR_KEYWORD), "")
        inputs = {name: value for name, value in bound.arguments.items() if name not in (first, rest)}
        return Emission(
            app.settings.callbacks, "compile", optimizer, inputs | bound.arguments.get(rest, {}), app.bridge.run
        )

    if inspect.iscoroutinefunction(compile):

        @functools.wraps(compile)
        async def around(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            if is_told(optimizer):
                return await compile(optimizer, *args, **kwargs)
            token = _RUNNING.set((*_RUNNING.get(), id(optimizer)))
            try:
                async with emission(optimizer, args, kwargs) as telling:
                    telling.outputs = made = await compile(optimizer, *args, **kwargs)
                return made
            finally:
                _RUNNING.reset(token)
    else:

        @functools.wraps(compile)
        def around(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            if is_told(optimizer):
                return compile(optimizer, *args, **kwargs)
            token = _RUNNING.set((*_RUNNING.get(), id(optimizer)))
            try:
                with emission(optimizer, args, kwargs) as telling:
                    telling.outputs = made = compile(optimizer, *args, **kwargs)
                return made
            finally:
                _RUNNING.reset(token)

    return around
