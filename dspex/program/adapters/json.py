"""JSON: inputs as one object, the reply as one object; nothing in a value can leave its string."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from dspex.core.endpoint import Capabilities
from dspex.core.errors import AdapterParseError
from dspex.core.messages import Message
from dspex.program.adapters import base
from dspex.program.adapters.adapter import Adapter
from dspex.program.adapters.json_stream import JSONStream
from dspex.program.adapters.reply_schema import reply_schema
from dspex.program.compiled import CompiledSignature
from dspex.program.fields import FieldInfo
from dspex.program.json_text import read_json
from dspex.program.parts import Content, content, joined
from dspex.program.reply_function import goes_by_function
from dspex.program.values import render

_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)  # as some models begin, with objects in them


class JSONAdapter(Adapter):
    """One JSON object out, held to a schema where the provider can do that, or has functions to call.

    Subclasses may override any `format_*` method.
    `use_native_function_calling`: tools go as the provider's functions; None: where it is known to have them.
    `parallel_tool_calls`: whether several may be called at once. `callbacks` does nothing.
    """

    name = "json"
    version = 2
    _settled = True  # as in ChatAdapter

    def __init__(
        self,
        callbacks: Any = None,
        use_native_function_calling: bool | None = None,
        parallel_tool_calls: bool | None = None,
    ) -> None:
        super().__init__(callbacks, use_native_function_calling, None, parallel_tool_calls)

    def format_field_description(self, signature: Any) -> str:
        """Names, types and descriptions of the inputs; the form of a reply has those of the outputs."""
        compiled = base.compiled_of(signature)
        return f"You are given a JSON object with:\n{base.field_lines(compiled.inputs)}" if compiled.inputs else ""

    def format_field_structure(self, signature: Any) -> str:
        """The form of a reply."""
        compiled = base.compiled_of(signature)
        return _wanted(compiled) if compiled.outputs else ""  # none: all that is wanted are calls

    def format_task_description(self, signature: Any) -> str:
        """The instructions."""
        return f"Your task:\n{base.compiled_of(signature).instructions}"

    def format_user_message_content(
        self, signature: Any, inputs: Any, prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> Content:
        """The inputs as one object."""
        content = _compact(base.present(base.compiled_of(signature).inputs, inputs))
        end = self.user_message_output_requirements(signature) if main_request else ""
        return joined("", (prefix, content, f"\n\n{end}" if end else "", suffix))

    def format_conversation_history(
        self, signature: Any, history_field_name: str, inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The turns of that input, a History, each with the fields that it has. Raises InputError."""
        compiled, messages = base.compiled_of(signature).without_history, []
        for asked, answered in base.turns_of(compiled, history_field_name, inputs.get(history_field_name)):
            messages += [{"role": "user", "content": _compact(asked)}] if asked else []
            messages += [{"role": "assistant", "content": _compact(answered)}] if answered else []
        return messages

    def user_message_output_requirements(self, signature: Any) -> str:
        """What the question ends with: nothing."""
        return ""

    def schema(self, signature: Any, capabilities: Capabilities) -> tuple[Mapping[str, Any] | None, str]:
        """The schema for the provider to hold the reply to, or None, and why."""
        by_function = goes_by_function(capabilities)
        if not (capabilities.json_schema or by_function):
            known = "cannot hold" if capabilities.json_schema is False else "is not known to hold"
            return None, f"asked for in words: the LM {known} a reply to a JSON schema"
        found = reply_schema(base.compiled_of(signature))
        if found.schema is None:
            return None, f"asked for in words: {found.fault}"
        return (
            found.schema,
            f"held to a JSON schema by the LM{', as the arguments of a function' if by_function else ''}",
        )

    def format_assistant_message_content(
        self, signature: Any, outputs: Any, missing_field_message: str | None = None
    ) -> Content:
        """A reply with these values."""
        return _compact(base.present(base.compiled_of(signature).outputs, outputs, missing_field_message))

    def format_fields(self, values: Mapping[str, Any]) -> str:
        """A reply with these values where no signature is known."""
        return msgspec.json.format(render(dict(values)), indent=2)

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Values of the object's keys, in any case; other keys are dropped. Raises AdapterParseError."""
        return read_object(self, signature, completion)

    def parser(self, signature: Any) -> JSONStream:
        """Reads a reply while it comes."""
        return JSONStream(base.compiled_of(signature))

    def is_complete(self, signature: Any, completion: str) -> bool:
        """Whether a reply came to the end of its object."""
        return completion.rstrip().endswith(("}", "```"))

    def reask(self, signature: Any, completion: str, error: AdapterParseError) -> tuple[Message, ...]:
        """The turns of one more call, which show the model its reply and the fault."""
        return base.turns(completion, error, self.format_field_structure(signature))


def read_object(adapter: Any, signature: Any, completion: str) -> dict[str, Any]:
    """Outputs out of a JSON object, for any adapter whose reply came as one. Raises AdapterParseError."""
    compiled = base.compiled_of(signature)
    try:
        data = read_json(_THOUGHTS.sub("", completion, count=1))
        data = data[0] if isinstance(data, list) and len(data) == 1 else data
        if not isinstance(data, dict):
            raise ValueError("it is no object")  # noqa: TRY004  the text is at fault, no caller
        data = _as_written(compiled, _by_output(compiled, data), completion)
    except ValueError as error:
        fault = AdapterParseError(str(error))
        raise base.unreadable(adapter, signature, completion, fault) from fault
    return base.outputs(adapter, signature, completion, data, from_text=False)


def _by_output(compiled: CompiledSignature, data: dict[str, Any]) -> dict[str, Any]:
    """The keys under the outputs' own names, whatever their case. Raises ValueError for two that mean one."""
    for field in compiled.outputs:
        if field.name in data:
            continue
        alike = [name for name in data if str(name).casefold() == field.name.casefold()]
        if len(alike) > 1 and any(data[name] != data[alike[0]] for name in alike):
            raise ValueError(f"it has two values for {field.name!r}")
        if alike:
            data[field.name] = data[alike[0]]
    return data


def _as_written(compiled: CompiledSignature, data: dict[str, Any], completion: str) -> dict[str, Any]:
    """A number for an output of text as the model wrote it: 1.10 may be no number. Raises ValueError if that is not certain."""
    for field in compiled.outputs:
        value = data.get(field.name)
        if type(value) is float and field.annotation is str:
            written = re.findall(rf"""["']?{field.name}["']?\s*:\s*([-+.\w]+)""", completion, re.IGNORECASE)
            if len({*written}) != 1:
                raise ValueError(f"expected text for {field.name!r}, got the number {value}")
            data[field.name] = written[0]
    return data


def _wanted(compiled: CompiledSignature) -> str:
    form = ", ".join(f'"{field.name}": ...' for field in compiled.outputs)
    return f"Reply with one JSON object and nothing else, {{{form}}}, where:\n{base.field_lines(compiled.outputs)}"


def _compact(values: Mapping[FieldInfo, Any]) -> Content:
    return content({f.name: value if f.restore is None else f.restore(value) for f, value in values.items()})


JSON = JSONAdapter()
