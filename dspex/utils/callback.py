"""DSPy's path of callbacks, and its decorator for a method that callbacks hear of."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from dspex.app.app import current_app
from dspex.app.lm import LM
from dspex.core.errors import ConfigurationError
from dspex.engine.optimizer import Optimizer
from dspex.evaluate.evaluate import Evaluate
from dspex.program.adapters.adapter import Adapter
from dspex.program.types.tool import Tool
from dspex.runtime.callbacks import ACTIVE_CALL_ID, BaseCallback, Emission

__all__ = ["ACTIVE_CALL_ID", "BaseCallback", "with_callbacks"]

F = TypeVar("F", bound=Callable[..., Any])


def with_callbacks(fn: F) -> F:
    """A method, sync or async, of whose start and end callbacks are told: those of the settings, then the object's own.

    The kind is "lm", "evaluate", "compile", "tool", or "adapter_format" and "adapter_parse" by the method's name, after
    what the object is; else "module". A call of a module is told of without it.
    """
    form = inspect.signature(fn)

    def emission(instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Emission | None:
        app = current_app()
        callbacks = [*app.settings.callbacks, *(getattr(instance, "callbacks", None) or ())]
        if not callbacks:
            return None
        bound = form.bind(instance, *args, **kwargs)
        bound.apply_defaults()
        inputs = dict([*bound.arguments.items()][1:])
        return Emission(callbacks, _kind(instance, fn.__name__), instance, inputs, app.bridge.run)

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def told(instance: Any, *args: Any, **kwargs: Any) -> Any:
            around = emission(instance, args, kwargs)
            if around is None:
                return await fn(instance, *args, **kwargs)
            async with around:
                around.outputs = await fn(instance, *args, **kwargs)
            return around.outputs
    else:

        @functools.wraps(fn)
        def told(instance: Any, *args: Any, **kwargs: Any) -> Any:
            around = emission(instance, args, kwargs)
            if around is None:
                return fn(instance, *args, **kwargs)
            with around:
                around.outputs = fn(instance, *args, **kwargs)
            return around.outputs

    return told  # type: ignore[return-value]  # of the same form


def _kind(instance: Any, method: str) -> str:
    if isinstance(instance, Adapter):
        if method not in {"format", "parse"}:
            raise ConfigurationError(
                f"with_callbacks is for `format` and `parse` of an adapter; {type(instance).__name__}.{method} is neither."
            )
        return f"adapter_{method}"
    kinds = {LM: "lm", Evaluate: "evaluate", Optimizer: "compile", Tool: "tool"}
    return next((kind for known, kind in kinds.items() if isinstance(instance, known)), "module")
