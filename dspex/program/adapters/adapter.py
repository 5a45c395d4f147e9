"""Adapter: base of adapters, with all that follows from `format` and `parse`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dspex.app.app import current_app
from dspex.app.lm import LM
from dspex.core.dictionaries import to_message
from dspex.core.messages import Message
from dspex.program import calling
from dspex.program.adapters import base
from dspex.program.adapters.kept_demos import KeptDemos, Turns
from dspex.program.compiled import CompiledSignature
from dspex.program.fields import FieldInfo
from dspex.program.signature import ensure_signature
from dspex.runtime.stepping import run_stepped
from dspex.runtime.worker_threads import in_thread

_OF_SYSTEM = ("format_field_description", "format_field_structure", "format_task_description")


class Adapter:
    """Turns inputs into messages and a reply into values; an own one writes `parse` and `format`, or `format`'s parts.

    The parts are `format_field_description`, `format_field_structure` and `format_task_description`, which make the
    system message, and `format_user_message_content` and `format_assistant_message_content`, which make the turns.

    The arguments say what goes beside the prompt (`native_plan`): tools as the provider's functions (None: where it is
    known to have them), which types are filled by what the model thought, several calls at once. `callbacks` hear of
    its formats and parses. One that overrides `__call__` or `acall` is called by Predict in its place, and then is not heard by streams.
    """

    name = "own"
    version = 1
    finetune_format = "chat"
    callbacks: list[Any]
    __slots__ = ("__dict__", "__weakref__", "callbacks")  # not among what tells one from another

    def __init__(
        self,
        callbacks: Sequence[Any] | None = None,
        use_native_function_calling: bool | None = False,
        native_response_types: Any = None,
        parallel_tool_calls: bool | None = None,
    ) -> None:
        self.callbacks = list(callbacks or ())
        self.use_native_function_calling = use_native_function_calling
        self.native_response_types = native_response_types
        self.parallel_tool_calls = parallel_tool_calls

    def format(self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The messages: dictionaries of role and content; made of the parts where this is not overridden."""
        ask = getattr(self, "format_user_message_content", None)
        if ask is None:
            raise NotImplementedError(f"{type(self).__name__} has no `format`; write format(signature, demos, inputs).")
        whole, earlier = base.compiled_of(signature), []
        compiled = whole
        if compiled.history is not None:
            earlier = self.format_conversation_history(compiled, compiled.history, dict(inputs))
            compiled = compiled.without_history
        return [
            {"role": "system", "content": self.format_system_message(compiled)},
            *self.format_demos(whole, demos),
            *earlier,
            {"role": "user", "content": ask(compiled, inputs, main_request=True)},
        ]

    def format_system_message(self, signature: Any) -> str:
        """Fields, form and task, as far as they are written."""
        parts = (getattr(self, name, None) for name in _OF_SYSTEM)
        return "\n\n".join(filter(None, [part(signature) for part in parts if part is not None]))

    def format_demos(self, signature: Any, demos: Sequence[Any]) -> list[dict[str, Any]]:
        """A user and an assistant turn for each demo, partial ones first."""
        compiled = base.compiled_of(signature)
        turns: list[dict[str, Any]] = []
        for demo, _ in base.sorted_demos(compiled, demos) if demos else ():
            form = base.shown_for(compiled, demo)
            turns += [*self._asked(form, demo), *self._answered(compiled, demo, base.NOT_GIVEN)]
        return turns

    def format_conversation_history(
        self, signature: Any, history_field_name: str, inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The turns of that input, a History, in the form of demos. Raises InputError."""
        compiled = base.compiled_of(signature).without_history
        turns: list[dict[str, Any]] = []
        for asked, answered in base.turns_of(compiled, history_field_name, inputs.get(history_field_name)):
            turns += self._asked(compiled, _by_name(asked)) if asked else []
            turns += self._answered(compiled, _by_name(answered)) if answered else []
        return turns

    def _asked(self, compiled: CompiledSignature, inputs: Any) -> list[dict[str, Any]]:
        write = self._part("format_user_message_content")
        return [{"role": "user", "content": write(compiled, inputs)}]

    def _answered(self, compiled: CompiledSignature, outputs: Any, missing: str | None = None) -> list[dict[str, Any]]:
        write = self._part("format_assistant_message_content")
        return [{"role": "assistant", "content": write(compiled, outputs, missing)}]

    def _part(self, name: str) -> Callable[..., Any]:
        part = getattr(self, name, None)
        if part is None:
            raise NotImplementedError(f"{type(self).__name__} has no `{name}`, which turns before the question need.")
        return part  # type: ignore[no-any-return]  # what a user wrote

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Values by output field. Raises AdapterParseError."""
        raise NotImplementedError(f"{type(self).__name__} has no `parse`; write parse(signature, completion).")

    def render(self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """The same as `format`, as what Predict sends."""
        compiled = base.compiled_of(signature)
        kept = compiled.templates.get(type(self))
        if kept is None:
            kept = compiled.templates[type(self)] = self._prepared(compiled)
        if not kept:
            return tuple(map(to_message, self.format(signature, demos, inputs)))
        system, turns = kept
        question = self._question(compiled, inputs)
        return (system, *turns.messages(demos), question) if demos else (system, question)

    def _prepared(self, compiled: CompiledSignature) -> tuple[Message, KeptDemos] | tuple[()]:
        """What each prompt of a signature begins with; empty where more stands before the question, or it may be another each time."""
        if "_settled" not in vars(type(self)) or compiled.history is not None:
            return ()
        return Message.of("system", self.format_system_message(compiled)), KeptDemos(partial(self._turns, compiled))

    def _turns(self, compiled: CompiledSignature, demo: Any) -> Turns:
        is_whole = any(whole for _, whole in base.sorted_demos(compiled, [demo]))
        return is_whole, tuple(map(to_message, self.format_demos(compiled, [demo])))

    def _question(self, compiled: CompiledSignature, inputs: Mapping[str, Any]) -> Message:
        content = self._part("format_user_message_content")(compiled, inputs, main_request=True)
        return to_message({"role": "user", "content": content})

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


def _by_name(values: Mapping[FieldInfo, Any]) -> dict[str, Any]:
    return {field.name: value for field, value in values.items()}


def own_call(adapter: Any) -> Callable[..., Awaitable[list[dict[str, Any]]]] | None:
    """The way that an adapter's class calls the model itself, None for nearly all."""
    kind = type(adapter)
    if not isinstance(adapter, Adapter):
        return None
    if kind.acall is not Adapter.acall:
        return adapter.acall
    return partial(in_thread, adapter) if kind.__call__ is not Adapter.__call__ else None
