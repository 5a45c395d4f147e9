"""Inline callbacks: DSPy's hooks, called in order on the caller's path, each behind a fence."""

import os
import warnings
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Self

KINDS = ("module", "lm", "adapter_format", "adapter_parse", "retriever", "tool", "evaluate", "compile")

ACTIVE_CALL_ID: ContextVar[str | None] = ContextVar("dspex_active_call_id", default=None)


class BaseCallback:
    """Subclass and override what you want to hear of: `on_KIND_start` and `on_KIND_end`.

    The kinds are module, lm, adapter_format, adapter_parse, retriever, tool, evaluate and compile.
    """

    def _ignore(self, *args: Any, **kwargs: Any) -> None:
        """Nothing listens here."""

    on_module_start = on_lm_start = on_adapter_format_start = on_adapter_parse_start = _ignore
    on_retriever_start = on_tool_start = on_evaluate_start = on_compile_start = _ignore
    on_module_end = on_lm_end = on_adapter_format_end = on_adapter_parse_end = _ignore
    on_retriever_end = on_tool_end = on_evaluate_end = on_compile_end = _ignore


class Emission:
    """One start and its end, as a context manager; set `outputs` before it closes."""

    __slots__ = ("_callbacks", "_id", "_inputs", "_instance", "_kind", "_token", "outputs")

    def __init__(self, callbacks: Sequence[Any], kind: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._callbacks = callbacks
        self._kind = kind
        self._instance = instance
        self._inputs = inputs
        self._id = os.urandom(16).hex()
        self.outputs: Any = None

    def __enter__(self) -> Self:
        self._tell("start", {"call_id": self._id, "instance": self._instance, "inputs": self._inputs})
        self._token = ACTIVE_CALL_ID.set(self._id)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> None:
        ACTIVE_CALL_ID.reset(self._token)
        self._tell("end", {"call_id": self._id, "outputs": self.outputs, "exception": error})

    def _tell(self, moment: str, arguments: dict[str, Any]) -> None:
        for callback in self._callbacks:
            method = getattr(callback, f"on_{self._kind}_{moment}", None)
            if method is None:
                continue
            try:
                method(**arguments)
            except Exception as error:  # noqa: BLE001  a callback is a guest: it must not fail the call
                name = type(callback).__name__
                warnings.warn(
                    f"Callback {name}.on_{self._kind}_{moment} failed: {error!r}", RuntimeWarning, stacklevel=4
                )
