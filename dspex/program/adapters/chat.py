"""Chat: each field below a marker line `[[ ## name ## ]]`; for models that take turns."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dspex.core.errors import AdapterParseError
from dspex.core.messages import Message, Text
from dspex.program.adapters import base
from dspex.program.adapters.adapter import Adapter
from dspex.program.adapters.chat_stream import ChatStream
from dspex.program.compiled import CompiledSignature
from dspex.program.fields import FieldInfo
from dspex.program.parts import Content, joined, mapped

if TYPE_CHECKING:
    from dspex.plugin.adapters import ReplyParser

_ANYWHERE = re.compile(r"(?<!\\)\[\[[ \t]*##[ \t]*(\w+)[ \t]*##[ \t]*\]\]\**")
_MARKER = re.compile(rf"^[ \t>*#-]*{_ANYWHERE.pattern}", re.MULTILINE)
_SECTION = r"(?m)^\[\[ ## \w+ ## \]\][ \t]*$"
_END = re.compile(r"(?<!\\)\[\[[ \t]*##[ \t]*completed[ \t]*##[ \t]*\]\]\s*\Z")
_ESCAPE = base.Escape(r"\[\[[ \t]*##")
_GAP = "\n\n"
_LEFT_OUT = f"(An example; some of its fields are not given.){_GAP}"


class ChatAdapter(Adapter):
    """The default form. Subclasses may override any `format_*` method.

    `use_json_adapter_fallback`: the one more call after a reply that can't be read is in JSON form. The next three say
    what goes beside the prompt (`native_plan`): tools as the provider's functions (None: where it is known to have
    them), several calls at once, and which types are filled by what the model thought. `callbacks` does nothing.
    """

    name = "chat"
    version = 2
    _settled = True  # says the same each time, so that what is prepared may be kept; a subclass of a user's may not

    def __init__(
        self,
        callbacks: Any = None,
        use_native_function_calling: bool | None = False,
        native_response_types: Any = None,
        use_json_adapter_fallback: bool = True,
        parallel_tool_calls: bool | None = None,
    ) -> None:
        super().__init__(callbacks, use_native_function_calling, native_response_types, parallel_tool_calls)
        self.use_json_adapter_fallback = use_json_adapter_fallback

    def format(self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """System message, a pair of turns for each demo, earlier turns, and the question."""
        compiled = base.compiled_of(signature)
        earlier: list[dict[str, Any]] = []
        if compiled.history is not None:
            signature = compiled.without_history
            earlier = self.format_conversation_history(signature, compiled.history, dict(inputs))
        content = self.format_user_message_content(signature, inputs, main_request=True)
        return [
            {"role": "system", "content": self.format_system_message(signature)},
            *self.format_demos(compiled, demos),
            *earlier,
            {"role": "user", "content": content},
        ]

    def _question(self, compiled: CompiledSignature, inputs: Mapping[str, Any]) -> Message:
        form = compiled.templates.get("chat question") if type(self) is ChatAdapter else ()
        if form is None:
            form = compiled.templates["chat question"] = self._question_form(compiled)
        if not form:
            return super()._question(compiled, inputs)
        text, (heads, reminder) = "", form
        for name, head in heads:
            value = inputs.get(name)
            if type(value) is not str or "[[" in value:  # the latter is to be hidden
                return super()._question(compiled, inputs)
            text += head + value
        return Message("user", (Text(text + reminder),))

    def _question_form(self, compiled: CompiledSignature) -> tuple[list[tuple[str, str]], str] | tuple[()]:
        """The marker of each input and the reminder; empty where there is more to it."""
        if not compiled.outputs or any(field.annotation is not str for field in compiled.inputs):
            return ()
        heads = [
            (field.name, f"{_GAP if number else ''}[[ ## {field.name} ## ]]\n")
            for number, field in enumerate(compiled.inputs)
        ]
        return heads, f"{_GAP if heads else ''}{self.user_message_output_requirements(compiled)}"

    def format_system_message(self, signature: Any) -> str:
        """Fields, form and task; kept with the signature."""
        parts = [self.format_field_description, self.format_task_description]
        if base.compiled_of(signature).outputs:  # else all that is wanted are calls
            parts.insert(1, self.format_field_structure)
        return self._kept(
            signature, "system", lambda compiled: "\n\n".join(filter(None, [part(compiled) for part in parts]))
        )

    def format_field_description(self, signature: Any) -> str:
        """Names, types and descriptions."""
        compiled = base.compiled_of(signature)
        sides = {"You are given": compiled.inputs, "You produce": compiled.outputs}
        return "\n\n".join(f"{head}:\n{base.field_lines(fields)}" for head, fields in sides.items() if fields)

    def format_field_structure(self, signature: Any) -> str:
        """The form of a reply."""
        compiled = base.compiled_of(signature)
        sections = "\n\n".join(f"[[ ## {field.name} ## ]]\n{{{field.name}}}" for field in compiled.outputs)
        return f"Reply in this form, each marker on a line of its own:\n\n{self._ended(compiled, sections)}"

    def format_task_description(self, signature: Any) -> str:
        """The instructions."""
        return f"Your task:\n{base.compiled_of(signature).instructions}"

    def format_demos(self, signature: Any, demos: Sequence[Any]) -> list[dict[str, Any]]:
        """A user and an assistant turn for each demo, partial ones first."""
        compiled = base.compiled_of(signature)
        messages = []
        for demo, is_whole in base.sorted_demos(compiled, demos) if demos else ():
            form = base.shown_for(compiled, demo)
            asked = self.format_user_message_content(form, demo, prefix="" if is_whole else _LEFT_OUT)
            answered = self.format_assistant_message_content(compiled, demo, base.NOT_GIVEN)
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": self._closed(compiled, answered)})
        return messages

    def format_conversation_history(
        self, signature: Any, history_field_name: str, inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The turns of that input, a History, in the form of demos. Raises InputError."""
        compiled, messages = base.compiled_of(signature).without_history, []
        for asked, answered in base.turns_of(compiled, history_field_name, inputs.get(history_field_name)):
            if asked:
                messages.append({"role": "user", "content": self._sections(compiled, asked)})
            if answered:
                reply = self._closed(compiled, self._sections(compiled, answered))
                messages.append({"role": "assistant", "content": reply})
        return messages

    def format_user_message_content(
        self, signature: Any, inputs: Any, prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> Content:
        """The inputs; at the end of a main request the order of the outputs."""
        compiled = base.compiled_of(signature)
        content, end = self._sections(compiled, base.present(compiled.inputs, inputs)), ""
        if main_request and compiled.outputs:
            end = f"{_GAP if content else ''}{self.user_message_output_requirements(compiled)}"
        return f"{prefix}{content}{end}{suffix}" if type(content) is str else joined("", (prefix, content, end, suffix))

    def format_assistant_message_content(
        self, signature: Any, outputs: Any, missing_field_message: str | None = None
    ) -> Content:
        """A reply with these values, without the end marker."""
        compiled = base.compiled_of(signature)
        return self._sections(compiled, base.present(compiled.outputs, outputs, missing_field_message))

    def _sections(self, compiled: CompiledSignature, values: Mapping[FieldInfo, Any]) -> Content:
        """Fields of that signature with their values."""
        return self.format_field_with_value(values)

    def format_field_with_value(self, fields_with_values: Mapping[FieldInfo, Any]) -> Content:
        """Marker, newline and value of each field, with a blank line between."""
        sections = [
            f"[[ ## {f.name} ## ]]\n{v}" if type(v) is str and f.annotation is str and "[[" not in v else _section(f, v)
            for f, v in fields_with_values.items()
        ]
        return sections[0] if len(sections) == 1 else joined(_GAP, sections)

    def format_finetune_data(
        self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A row to train a model on: the messages of a call, and the whole reply, its end marker included."""
        row = super().format_finetune_data(signature, demos, inputs, outputs)
        last = row["messages"][-1]
        last["content"] = self._closed(base.compiled_of(signature), last["content"])
        return row

    def format_fields(self, values: Mapping[str, Any]) -> Content:
        """A reply with these values where no signature is known."""
        return self.format_field_with_value(base.loose(values))

    def user_message_output_requirements(self, signature: Any) -> str:
        """The reminder of the outputs' order."""

        def remind(compiled: CompiledSignature) -> str:
            markers = [f"`[[ ## {field.name} ## ]]`" for field in compiled.outputs]
            return f"Reply with {', then '.join(markers)}{self._ended(compiled, '', ', and end with `{}`')}."

        return self._kept(signature, "reminder", remind)

    def _closed(self, compiled: CompiledSignature, reply: Content) -> Content:
        return (
            self._ended(compiled, reply) if isinstance(reply, str) else joined("", (reply, self._ended(compiled, "")))
        )

    def _ended(self, compiled: CompiledSignature, text: str, form: str = "\n\n{}") -> str:
        """With the end marker, unless that is a field's."""
        return text if "completed" in compiled.fields else text + form.format("[[ ## completed ## ]]")

    def _kept(self, signature: Any, what: str, make: Callable[[CompiledSignature], str]) -> str:
        compiled = base.compiled_of(signature)
        if "_settled" not in vars(type(self)):
            return make(compiled)
        text: str | None = compiled.templates.get((self.name, what))
        if text is None:
            text = compiled.templates[self.name, what] = make(compiled)
        return text

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Values below the markers: the last full set of them. Raises AdapterParseError."""
        compiled = base.compiled_of(signature)
        found = _exact(compiled, completion)
        if found is None:
            found = _tolerant(compiled, completion)
        elif compiled.is_of_texts:
            return found
        if compiled.is_of_texts and found.keys() >= compiled.output_names:
            return {name: found[name] for name in compiled.output_names}
        if not found and completion.lstrip().startswith(("{", "```")):
            from dspex.program.adapters.json import read_object

            return read_object(self, signature, completion)
        return _read(self, signature, completion, found)

    def parser(self, signature: Any) -> "ReplyParser":
        """Reads a reply while it comes."""
        return ChatStream(base.compiled_of(signature))

    def is_complete(self, signature: Any, completion: str) -> bool:
        """Whether a reply came to its end marker."""
        return _END.search(completion, max(0, len(completion) - 60)) is not None

    def reask(self, signature: Any, completion: str, error: AdapterParseError) -> tuple[Message, ...]:
        """The turns of one more call, which show the model its reply and the fault."""
        return base.turns(completion, error, self.format_field_structure(signature))


def _section(field: FieldInfo, value: Any) -> Content:
    shown = base.shown(field, value)
    if isinstance(shown, str):
        return f"[[ ## {field.name} ## ]]\n{_ESCAPE.hide(shown)}"
    return joined("", (f"[[ ## {field.name} ## ]]\n", mapped(_ESCAPE.hide, shown)))


def _exact(compiled: CompiledSignature, completion: str) -> dict[str, str] | None:
    """Texts by output of a reply in the exact form, as most are; None for any other."""
    first, sections, last = compiled.templates.get("chat form") or _form(compiled)
    count = completion.count("[[ ## ")
    if count != len(sections) + 1 or not completion.startswith(first) or "\\[[" in completion:
        return None
    found, rest = {}, completion[len(first) :]
    for name, end in sections:
        text, mark, rest = rest.partition(end)
        if not mark:
            return None
        found[name] = text.strip()
    if last is not None:
        found[last] = rest.strip()
    return found


def _form(compiled: CompiledSignature) -> tuple[str, list[tuple[str, str]], str | None]:
    """What an exact reply begins with, each section's name with the line that ends it, and the name of one that has no such line."""
    names = list(dict.fromkeys([*(field.name for field in compiled.outputs), "completed"]))
    heads = [f"[[ ## {name} ## ]]" for name in names]
    sections = [(name, f"\n{end}") for name, end in zip(names, heads[1:], strict=False)]
    last = names[-1] if names[-1] in compiled.output_names else None
    form = compiled.templates["chat form"] = heads[0], sections, last
    return form


def _tolerant(compiled: CompiledSignature, completion: str) -> dict[str, str]:
    """Texts by output of the last set of markers that begin lines (or share one)."""
    completion = (completion if "completed" in compiled.fields else _END.sub("", completion)).strip()
    found = _last_set(compiled, completion, _MARKER if "\n" in completion else _ANYWHERE)
    return {name: _ESCAPE.show(text.strip()) for name, text in found.items()}


def _last_set(compiled: CompiledSignature, completion: str, marker: re.Pattern[str]) -> dict[str, str]:
    """The last full run of sections, up to where the model goes on with an example of its own."""
    known = {name.casefold(): name for name in ("completed", *compiled.fields)}
    marks = [mark for mark in marker.finditer(completion) if mark[1].casefold() in known]
    ends = [mark.start() for mark in marks[1:]] + [len(completion)]
    sections = [
        (known[mark[1].casefold()], completion[mark.end() : end]) for mark, end in zip(marks, ends, strict=False)
    ]
    for index, (name, text) in enumerate(sections[:-1]):
        if name == "completed" and not text.strip() and sections[index + 1][0] in compiled.input_names:
            sections = sections[:index]
            break
    return base.last_full(compiled, sections)


def _read(adapter: ChatAdapter, signature: Any, completion: str, found: dict[str, str]) -> dict[str, Any]:
    """The values; one that cannot be read ends where the model goes on with a section that nobody asked for."""
    while True:
        try:
            return base.outputs(adapter, signature, completion, found, from_text=True)
        except AdapterParseError as error:
            text = found.get(error.field or "", "")
            shorter = re.split(_SECTION, text, maxsplit=1)[0].rstrip()
            if shorter == text:
                raise
            found = {**found, str(error.field): shorter}


CHAT = ChatAdapter()
