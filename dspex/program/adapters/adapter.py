"""Adapter: base of adapters, with all that follows from `format` and `parse`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dspex.app.app import current_app
from dspex.app.lm import LM
from dspex.core.dictionaries import to_message
from dspex.core.messages import Message
from dspex.program import calling
from dspex.program.signature import ensure_signature
from dspex.runtime.bridge import in_thread, run_stepped


class Adapter:
    """Turns inputs into messages and a reply into values; an own one writes `format` and `parse`.

    The arguments say what goes beside the prompt (`native_plan`): tools as the provider's functions (None: where it is
    known to have them), which types are filled by what the model thought, several calls at once. `callbacks` does
    nothing. One that overrides `__call__` or `acall` is called by Predict in its place, and then is not heard by streams.
    """

    name = "own"
    version = 1
    finetune_format = "chat"

    def __init__(
        self,
        callbacks: Any = None,
        use_native_function_calling: bool | None = False,
        native_response_types: Any = None,
        parallel_tool_calls: bool | None = None,
    ) -> None:
        self.use_native_function_calling = use_native_function_calling
        self.native_response_types = native_response_types
        self.parallel_tool_calls = parallel_tool_calls

    def format(self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The messages: dictionaries of role and content."""
        raise NotImplementedError(f"{type(self).__name__} has no `format`; write format(signature, demos, inputs).")

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Values by output field. Raises AdapterParseError."""
        raise NotImplementedError(f"{type(self).__name__} has no `parse`; write parse(signature, completion).")

    def render(self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """The same as `format`, as what Predict sends."""
        return tuple(map(to_message, self.format(signature, demos, inputs)))

    def format_finetune_data(
        self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A row to train a model on (`FineTuneSpec`): the messages of a call, and the reply that is wanted as the last one.

        Raises NotImplementedError for an adapter that cannot write a reply (`format_assistant_message_content`).
        """
        write = getattr(self, "format_assistant_message_content", None)
        if write is None:
            raise NotImplementedError(f"{type(self).__name__} writes no replies, so it cannot make rows to train on.")
        reply = {"role": "assistant", "content": write(signature, outputs)}
        return {"messages": [*self.format(signature, demos, inputs), reply]}

    def __call__(
        self, lm: LM, lm_kwargs: Mapping[str, Any], signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """One call of a signature in this form: the outputs of each completion."""
        return run_stepped(current_app().bridge, Adapter.acall(self, lm, lm_kwargs, signature, demos, inputs))

    async def acall(
        self, lm: LM, lm_kwargs: Mapping[str, Any], signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """As calling it. Raises InputError, AdapterParseError, LMError classes."""
        app = current_app()
        signature = ensure_signature(signature)
        given = signature.compiled.check_inputs(dict(inputs))
        call = calling.Call(calling.model(lm, app), lm_kwargs, signature, demos, given, self, app.settings.callbacks)
        return await call.outputs(app)


def own_call(adapter: Any) -> Callable[..., Awaitable[list[dict[str, Any]]]] | None:
    """The way that an adapter's class calls the model itself, None for nearly all."""
    kind = type(adapter)
    if not isinstance(adapter, Adapter):
        return None
    if kind.acall is not Adapter.acall:
        return adapter.acall
    return partial(in_thread, adapter) if kind.__call__ is not Adapter.__call__ else None
