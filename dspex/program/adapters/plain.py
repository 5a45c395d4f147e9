"""Plain: `Prefix: value` lines, for base models that go on with a text."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dspex.core.endpoint import Capabilities
from dspex.core.errors import AdapterParseError
from dspex.core.messages import Message
from dspex.program.adapters import base
from dspex.program.adapters.adapter import Adapter
from dspex.program.adapters.plain_stream import Form, PlainStream
from dspex.program.compiled import CompiledSignature
from dspex.program.fields import FieldInfo
from dspex.program.parts import Content, joined, mapped


class PlainAdapter(Adapter):
    """Instructions, demos and inputs as one text that ends with the first output's label, for the model to go on."""

    name = "plain"
    version = 2
    finetune_format = "completion"

    def __init__(self) -> None:
        super().__init__()

    def format(self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One user message."""
        return [{"role": "user", "content": self._prompt(base.compiled_of(signature), demos, inputs)}]

    def _prompt(self, compiled: CompiledSignature, demos: Sequence[Any], inputs: Mapping[str, Any]) -> Content:
        earlier = base.earlier(compiled, inputs)
        compiled = compiled.without_history if compiled.history else compiled
        form = _form(compiled)
        blocks: list[Content] = [compiled.instructions]
        for demo, _ in base.sorted_demos(compiled, demos):
            given, answer = base.present(compiled.inputs, demo), base.present(compiled.outputs, demo, base.NOT_GIVEN)
            blocks.append(_lines(form, {**given, **answer}))
        blocks += [_lines(form, {**asked, **answered}) for asked, answered in earlier]
        asked, label = _lines(form, base.present(compiled.inputs, inputs)), form.labels[compiled.outputs[0].name]
        blocks.append(joined("\n", (asked, label)) if asked else label)
        return joined("\n\n", blocks)

    def render(self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> tuple[Message, ...]:
        """The same as a message; with no dictionary between where it is all text."""
        prompt = self._prompt(base.compiled_of(signature), demos, inputs) if type(self) is PlainAdapter else None
        if isinstance(prompt, str):
            return (Message.of("user", prompt),)
        return super().render(signature, demos, inputs)

    def params(self, signature: Any, capabilities: Capabilities) -> dict[str, Any]:
        """Stop strings, and a grammar for a choice where the provider takes one."""
        outputs = base.compiled_of(signature).outputs
        if len(outputs) > 1:
            return {"stop": ["\n\n"]}
        if not (capabilities.grammar and outputs[0].choices):
            return {"stop": ["\n"]}
        # The final newline lets the stop string fire.
        choices = " | ".join(f'"{_quoted(choice)}"' for choice in outputs[0].choices)
        return {"stop": ["\n"], "grammar": f'root ::= " " ({choices}) "\\n"'}

    def format_assistant_message_content(
        self, signature: Any, outputs: Any, missing_field_message: str | None = None
    ) -> Content:
        """A reply with these values: what follows the first label."""
        compiled = base.compiled_of(signature)
        form = _form(compiled)
        text = _lines(form, base.present(compiled.outputs, outputs, missing_field_message))
        return text.removeprefix(form.labels[compiled.outputs[0].name]) if isinstance(text, str) else text

    def format_finetune_data(
        self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A row to train a model on: the text, and how it goes on."""
        asked = self._prompt(base.compiled_of(signature), demos, inputs)
        return {"prompt": asked, "completion": f"{self.format_assistant_message_content(signature, outputs)}\n"}

    def format_fields(self, values: Mapping[str, Any]) -> str:
        """A reply with these values where no signature is known."""
        lines = "\n".join(f"{field.prefix} {field.render(value)}" for field, value in base.loose(values).items())
        return f" {lines.partition(' ')[2]}"

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Values behind the labels, up to where the model goes on with another example. Raises AdapterParseError."""
        compiled = base.compiled_of(signature)
        form = _form(compiled)
        first = form.labels[compiled.outputs[0].name]
        begun = completion if completion.lstrip().casefold().startswith(first.casefold()) else f"{first} {completion}"
        pieces = form.label.split(begun)
        found: dict[str, str] = {}
        for label, text in zip(pieces[1::2], pieces[2::2], strict=True):
            name = form.names[label.casefold()]
            if name in found or name in compiled.input_names:
                break
            found[name] = form.escape.show(text.strip())
        return base.outputs(self, signature, completion, found, from_text=True)

    def parser(self, signature: Any) -> PlainStream:
        """Reads a reply while it comes."""
        compiled = base.compiled_of(signature)
        return PlainStream(_form(compiled), [field.name for field in compiled.outputs])

    def is_complete(self, signature: Any, completion: str) -> bool:
        """Never known: this form has no end."""
        return False

    def reask(self, signature: Any, completion: str, error: AdapterParseError) -> tuple[Message, ...]:
        """The turns of one more call, which show the model its reply and the fault."""
        compiled = base.compiled_of(signature)
        labels = _form(compiled).labels
        wanted = "\n".join(f"{labels[field.name]} {{{field.name}}}" for field in compiled.outputs)
        turns = base.turns(completion, error, f"Form:\n{wanted}")
        return (turns[0], Message.of("user", f"{turns[1].text}\n\n{labels[compiled.outputs[0].name]}"))


def _form(compiled: CompiledSignature) -> Form:
    form: Form | None = compiled.templates.get("plain")
    if form is None:
        labels = {name: field.prefix for name, field in compiled.fields.items()}
        if len({label.casefold() for label in labels.values()}) < len(labels) or not all(
            map(_is_label, labels.values())
        ):
            labels = {name: f"{name}:" for name in labels}  # prefixes of the user's that cannot tell fields apart
        hazard = "|".join(re.escape(label) for label in sorted(labels.values(), key=len, reverse=True))
        names = {label.casefold(): name for name, label in labels.items()}
        mark = re.compile(f"^({hazard})", re.MULTILINE | re.IGNORECASE)
        form = Form(labels, names, mark, base.Escape(hazard, "^"))
        compiled.templates["plain"] = form
    return form


def _is_label(text: str) -> bool:
    return text.strip() == text != "" and "\n" not in text


def _lines(form: Form, values: Mapping[FieldInfo, Any]) -> Content:
    lines = [
        f"{form.labels[f.name]} {form.escape.hide(v.strip())}"
        if type(v) is str and f.annotation is str
        else _line(form, f, v)
        for f, v in values.items()
    ]
    return lines[0] if len(lines) == 1 else joined("\n", lines)


def _line(form: Form, field: FieldInfo, value: Any) -> Content:
    shown = base.shown(field, value)
    if isinstance(shown, str):
        return f"{form.labels[field.name]} {form.escape.hide(shown.strip())}"
    return joined("", (f"{form.labels[field.name]} ", mapped(form.escape.hide, shown)))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


PLAIN = PlainAdapter()
