"""Inline callbacks: DSPy's hooks, sync or async, called in order on the caller's path, each behind a fence."""

import inspect
import os
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Self

from dspex.runtime.stepping import HOP

KINDS = (
    *("module", "lm", "adapter_format", "adapter_parse", "retriever", "tool", "evaluate", "compile"),
    *("interpreter_startup", "interpreter_execute", "interpreter_tool_call", "interpreter_shutdown"),
)

ACTIVE_CALL_ID: ContextVar[str | None] = ContextVar("dspex_active_call_id", default=None)


class BaseCallback:
    """Subclass and override what you want to hear of: `on_KIND_start(call_id, instance, inputs)` and
    `on_KIND_end(call_id, outputs, exception)`, by `def` or `async def`.

    The kinds are module, lm, adapter_format, adapter_parse, retriever, tool, evaluate and compile; of a sandbox
    interpreter_startup, interpreter_execute, interpreter_tool_call and interpreter_shutdown. The work goes on when all have
    returned. One that fails is warned of once, and stops nothing.
    """

    def _ignore(self, *args: Any, **kwargs: Any) -> None:
        """Nothing listens here."""

    on_module_start = on_lm_start = on_adapter_format_start = on_adapter_parse_start = _ignore
    on_retriever_start = on_tool_start = on_evaluate_start = on_compile_start = _ignore
    on_module_end = on_lm_end = on_adapter_format_end = on_adapter_parse_end = _ignore
    on_retriever_end = on_tool_end = on_evaluate_end = on_compile_end = _ignore
    on_interpreter_startup_start = on_interpreter_execute_start = on_interpreter_tool_call_start = _ignore
    on_interpreter_startup_end = on_interpreter_execute_end = on_interpreter_tool_call_end = _ignore
    on_interpreter_shutdown_start = on_interpreter_shutdown_end = _ignore


class Emission:
    """One start and its end, for `async with`, or where nothing can be awaited for `with`; set `outputs` before it closes.

    For `with`, `wait` runs what an async callback gives.
    """

    __slots__ = ("_callbacks", "_id", "_inputs", "_instance", "_kind", "_token", "_wait", "outputs")

    def __init__(
        self,
        callbacks: Sequence[Any],
        kind: str,
        instance: Any,
        inputs: dict[str, Any],
        wait: Callable[[Coroutine[Any, Any, Any]], Any] | None = None,
    ) -> None:
        self._callbacks = callbacks
        self._kind = kind
        self._instance = instance
        self._inputs = inputs
        self._wait = wait
        self._id = os.urandom(16).hex()
        self.outputs: Any = None

    async def __aenter__(self) -> Self:
        for told in self._tell("start", self._beginning):
            await told
        self._token = ACTIVE_CALL_ID.set(self._id)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: object
    ) -> None:
        ACTIVE_CALL_ID.reset(self._token)
        for told in self._tell("end", self._end(error)):
            await told

    def __enter__(self) -> Self:
        for told in self._tell("start", self._beginning):
            self._waited(told)
        self._token = ACTIVE_CALL_ID.set(self._id)
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> None:
        ACTIVE_CALL_ID.reset(self._token)
        for told in self._tell("end", self._end(error)):
            self._waited(told)

    @property
    def _beginning(self) -> dict[str, Any]:
        return {"call_id": self._id, "instance": self._instance, "inputs": self._inputs}

    def _end(self, error: BaseException | None) -> dict[str, Any]:
        return {"call_id": self._id, "outputs": self.outputs, "exception": error}

    def _waited(self, told: Coroutine[Any, Any, Any]) -> None:
        if self._wait is None:
            told.close()
            raise TypeError("an async callback was told of something that nobody can wait for")
        self._wait(told)

    def _tell(self, moment: str, arguments: dict[str, Any]) -> Iterator[Coroutine[Any, Any, None]]:
        """Tell each callback, in order; what an async one has to be waited for is given, behind its fence."""
        name = f"on_{self._kind}_{moment}"
        for callback in self._callbacks:
            method = getattr(callback, name, None)
            if method is None:
                continue
            try:
                result = method(**arguments)
            except Exception as error:  # noqa: BLE001  a callback is a guest: it must not fail the call
                _warn(callback, name, error)
                continue
            if inspect.isawaitable(result):
                yield _fenced(callback, name, result)


async def _fenced(callback: Any, name: str, told: Any) -> None:
    try:
        await HOP  # a sync call may have had no loop until here
        await told
    except Exception as error:  # noqa: BLE001  as above
        _warn(callback, name, error)


def _warn(callback: Any, name: str, error: Exception) -> None:
    """Once for each hook of a callback: one that fails may be called a million times."""
    known = getattr(callback, "__dict__", {}).setdefault("_dspex_failed", set())
    if name in known:
        return
    known.add(name)
    warnings.warn(
        f"Callback {type(callback).__name__}.{name} failed: {error!r}. Further failures of it are not told.",
        RuntimeWarning,
        stacklevel=5,
    )
