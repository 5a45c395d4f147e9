"""What adapters share: lists of fields, the order of demos, escapes, and a reply's way to values or a typed error."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dspex.core.errors import AdapterParseError, InputError
from dspex.core.messages import Message
from dspex.program.compiled import CompiledSignature
from dspex.program.fields import FieldInfo
from dspex.program.parts import Content, content
from dspex.program.types.base import Type
from dspex.program.types.history import History
from dspex.program.values import is_optional, render

NOT_GIVEN = "(not given)"
_HOLDERS = (Type, list, tuple, dict)  # where a part may be, though no type said so


def compiled_of(signature: Any) -> CompiledSignature:
    """The compiled form of a signature's class, or the same if it is that."""
    compiled: CompiledSignature = signature if type(signature) is CompiledSignature else signature.compiled
    return compiled


def field_lines(fields: Iterable[FieldInfo]) -> str:
    """One line a field: name, type, constraints, description; an output of structure with its JSON schema."""
    return "\n".join(f"- `{field.name}` ({_kind(field)}){field.desc and f': {field.desc}'}" for field in fields)


def _kind(field: FieldInfo) -> str:
    choices = (*field.choices, "null") if is_optional(field.annotation) else field.choices
    kind = f"one of: {', '.join(choices)}" if field.choices else field.type_text
    if field.role == "output" and re.search(r"'(\$ref|properties)'", str(field.schema)):
        kind = f"JSON of the schema {render(_lean(field.schema))}"
    elif isinstance(field.annotation, type) and issubclass(field.annotation, Type):
        kind = ": ".join(filter(None, (kind, field.annotation.description())))
    return f"{kind}, {field.constraints}" if field.constraints else kind


def _lean(schema: Any, name: str = "") -> Any:
    """A schema without titles that say a name again, as they are made for each class and each field."""
    if isinstance(schema, (list, tuple)):
        return [_lean(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {}
    for word, value in schema.items():
        if word in ("properties", "$defs"):
            made[word] = {key: _lean(one, key) for key, one in value.items()}
        elif word in ("default", "enum", "const", "examples"):
            made[word] = value
        elif word != "title" or value not in (name, name.replace("_", " ").title()):
            made[word] = _lean(value)
    return made


def shown(field: FieldInfo, value: Any) -> Content:
    """A value as it stands in a message."""
    if field.restore is not None:
        value = field.restore(value)
        return field.render(value) if value is None or isinstance(value, str) else content(value)
    return content(value) if isinstance(value, _HOLDERS) else field.render(value)


def earlier(compiled: CompiledSignature, inputs: Mapping[str, Any]) -> list[tuple[dict[FieldInfo, Any], ...]]:
    """Inputs and outputs of each turn in the inputs' History, as far as they are there. Raises InputError."""
    name = compiled.history
    return [] if name is None else turns_of(compiled.without_history, name, inputs.get(name))


def turns_of(shown: CompiledSignature, name: str, value: Any) -> list[tuple[dict[FieldInfo, Any], ...]]:
    """The same of one History, the input `name`; `shown` are the other fields."""
    try:
        messages = [] if value is None else History.from_plain(value).messages
    except ValueError as error:
        raise InputError(f"Input {name!r}: {error}") from error
    turns = []
    for turn in messages:
        known = [field for field in shown.fields.values() if turn.get(field.name) is not None]
        if not known:
            raise InputError(
                f"A turn of {name!r} has none of the fields {', '.join(shown.fields)}; it has: {', '.join(turn)}."
            )
        turns.append(tuple({f: turn[f.name] for f in known if f.role == role} for role in ("input", "output")))
    return turns


def shown_for(compiled: CompiledSignature, demo: Any) -> CompiledSignature:
    """The signature that a demo is written in: with its History only where the demo has earlier turns of its own."""
    if compiled.history is None:
        return compiled
    try:
        has_turns = bool(History.from_plain(demo.get(compiled.history) or []).messages)
    except ValueError:
        has_turns = False
    return compiled if has_turns else compiled.without_history


def sorted_demos(signature: CompiledSignature, demos: Sequence[Any]) -> list[tuple[dict[str, Any], bool]]:
    """Demos' values by field and whether they are whole, partial ones first; without any input or any output it is none."""
    whole, partial = [], []
    for demo in demos:
        compiled = shown_for(signature, demo)
        values, absent = {}, []
        for name, field in compiled.fields.items():
            value = values[name] = demo.get(name)
            if value is None and (field.required or name not in demo):
                absent.append(field.role)
        if not absent:
            whole.append((values, True))
        elif absent.count("input") < len(compiled.inputs) and absent.count("output") < len(compiled.outputs):
            partial.append((values, False))
    return partial + whole


def present(fields: Iterable[FieldInfo], record: Any, absent: Any = None) -> dict[FieldInfo, Any]:
    """Fields with their values; a required one without a value has `absent`, or is left out if that is None."""
    found = {}
    for field in fields:
        value = record.get(field.name)
        if value is None and field.required:
            if absent is None:
                continue
            value = absent
        found[field] = value
    return found


def loose(values: Mapping[str, Any]) -> dict[FieldInfo, Any]:
    """Values as outputs of a signature that nobody knows."""
    return {FieldInfo("output").bound(name, str).ready(): value for name, value in values.items()}


class Escape:
    """Puts a backslash before what would mark a field, so that a value opens and closes none; reversible."""

    def __init__(self, hazard: str, start: str = r"(?<!\\)") -> None:
        self._hide = re.compile(rf"{start}(\\*(?:{hazard}))", re.MULTILINE | re.IGNORECASE)
        self._show = re.compile(rf"{start}\\(\\*(?:{hazard}))", re.MULTILINE | re.IGNORECASE)

    def hide(self, text: str) -> str:
        """The text with no mark in it."""
        return text if self._hide.search(text) is None else self._hide.sub(r"\\\1", text)

    def show(self, text: str) -> str:
        """The text as it was."""
        return text if "\\" not in text else self._show.sub(r"\1", text)


def last_full(compiled: CompiledSignature, sections: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The last run of sections that has each output once, in order if there is one; a field may quote another's mark."""
    order = [field.name for field in compiled.outputs]
    needed = {field.name for field in compiled.outputs if field.required}
    for in_order in (True, False):
        for end in range(len(sections), 0, -1):
            run: dict[str, str] = {}
            for name, text in reversed(sections[max(0, end - len(order)) : end]):
                if name in run or name not in order:
                    break
                run[name] = text
            if needed <= run.keys() and (not in_order or [*reversed(run)] == [name for name in order if name in run]):
                return run
    return {name: text for name, text in sections if name in order}


def outputs(adapter: Any, signature: Any, reply: str, data: Mapping[str, Any], *, from_text: bool) -> dict[str, Any]:
    """Typed values out of what was found in a reply. Raises AdapterParseError."""
    try:
        return compiled_of(signature).convert_outputs(data, from_text=from_text)
    except AdapterParseError as fault:
        raise unreadable(adapter, signature, reply, fault) from fault


def unreadable(adapter: Any, signature: Any, reply: str, fault: AdapterParseError) -> AdapterParseError:
    """The error of a reply that does not fit."""
    shown = reply if len(reply) <= 200 else f"{reply[:150]} ... {reply[-40:]}"
    return AdapterParseError(
        f"The reply does not fit `{compiled_of(signature).text}` in {adapter.name} form: {fault}. It was: {shown!r}",
        adapter_name=type(adapter).__name__,
        signature=signature,
        lm_response=reply,
        parsed_result=fault.parsed_result,
        field=fault.field,
        reason=fault.reason or "form",
    )


def turns(reply: str, error: Exception, wanted: str) -> tuple[Message, ...]:
    """A model's reply and what to do about it, to be appended to the messages that it was an answer to."""
    fault = error.__cause__ if isinstance(error.__cause__, AdapterParseError) else error
    again = f"That reply cannot be read: {fault}. Reply once more, with everything. {wanted}"
    return Message.of("assistant", reply or NOT_GIVEN), Message.of("user", again)
