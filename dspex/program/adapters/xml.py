"""XML: each field between `<name>` and `</name>`; for models that were trained on tags.

Values stand there as they are, but for a field's tag in one: its `<` is written `&lt;`, and what is written so in the
value itself has one `amp;` more.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from dspex.core.errors import AdapterParseError
from dspex.program.adapters import base
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import read_object
from dspex.program.adapters.nested_tags import read_tags, resolved
from dspex.program.adapters.xml_stream import XMLStream
from dspex.program.compiled import CompiledSignature
from dspex.program.fields import FieldInfo
from dspex.program.json_text import read_json
from dspex.program.parts import Content, joined, mapped

_CDATA, _CDATA_END = "<![CDATA[", "]]>"
_EMPTY: Mapping[Any, str] = MappingProxyType({"array": "[]", "object": "{}"})
_LINE_START = re.compile(r"(?:\A|\n)[ \t`*>-]*\Z")
_MARGIN = 16  # characters before a tag that may be a line's indent or Markdown


class _Tag(NamedTuple):
    """A field's tag in a reply; `kind` is "open", "close" or "empty"."""

    name: str
    kind: str
    start: int
    end: int


class XMLAdapter(ChatAdapter):
    """Chat's turns with tags for markers: the same arguments, and the same methods to override."""

    name = "xml"
    version = 2
    _settled = True

    def format_field_structure(self, signature: Any) -> str:
        """The form of a reply."""
        sections = "\n\n".join(f"<{f.name}>\n{{{f.name}}}\n</{f.name}>" for f in base.compiled_of(signature).outputs)
        return f"Reply in this form, with each value as it is:\n\n{sections}"

    def user_message_output_requirements(self, signature: Any) -> str:
        """The reminder of the outputs' order."""

        def remind(compiled: CompiledSignature) -> str:
            return f"Reply with {', then '.join(f'`<{field.name}>`' for field in compiled.outputs)}."

        return self._kept(signature, "reminder", remind)

    def format_field_with_value(self, fields_with_values: Mapping[FieldInfo, Any]) -> Content:
        """Each value between its tags, on lines of their own, with a blank line between fields."""
        sections = [
            joined("", (f"<{f.name}>\n", f.render(value), f"\n</{f.name}>")) for f, value in fields_with_values.items()
        ]
        return joined("\n\n", sections)

    def format_fields(self, values: Mapping[str, Any]) -> Content:
        """A reply with these values where no signature is known."""
        fields = base.loose(values)
        tags = _Tags(fields)
        return self.format_field_with_value({tags.safe[field.name]: value for field, value in fields.items()})

    def _sections(self, compiled: CompiledSignature, values: Mapping[FieldInfo, Any]) -> Content:
        safe = _tags_of(compiled).safe
        return self.format_field_with_value({safe[field.name]: value for field, value in values.items()})

    def _ended(self, compiled: CompiledSignature, text: str, form: str = "") -> str:
        return text

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Values between the tags: the last full set of them. Raises AdapterParseError."""
        compiled = base.compiled_of(signature)
        tags = _tags_of(compiled)
        found = [*tags.found(completion)]
        if not found and completion.lstrip().startswith(("{", "```")):
            return read_object(self, signature, completion)
        try:
            sections = _balanced(found, completion)
            if sections is None:
                sections = _by_lines(found, completion)
            sections = _own(compiled, sections)
            texts = base.last_full(compiled, sections)
            values = {name: _value(compiled.fields[name], tags.show(text)) for name, text in texts.items()}
            values |= _by_item(compiled, tags, sections)
        except ValueError as error:
            fault = AdapterParseError(str(error))
            raise base.unreadable(self, signature, completion, fault) from fault
        return base.outputs(self, signature, completion, values, from_text=True)

    def parser(self, signature: Any) -> XMLStream:
        """Reads a reply while it comes."""
        compiled = base.compiled_of(signature)
        return XMLStream(compiled, _tags_of(compiled))

    def is_complete(self, signature: Any, completion: str) -> bool:
        """Whether a reply came to its last field's closing tag."""
        last = [field.name for field in base.compiled_of(signature).outputs[-1:]]
        return completion.rstrip("` \n").casefold().endswith(tuple(f"</{name}>".casefold() for name in last))


class _Tags:
    """The tags of some fields: found in a reply, hidden in a value, shown again."""

    def __init__(self, fields: Iterable[FieldInfo]) -> None:
        fields = list(fields)
        self._names = {field.name.casefold(): field.name for field in fields} | {f.name: f.name for f in fields}
        names = "|".join(sorted(map(re.escape, self._names), key=len, reverse=True))
        ahead = rf"(?=/?(?:{names})\b|!\[CDATA\[)"
        self.tag = re.compile(rf"<(?:(/?)({names})(?:\s[^<>]*?)?(/?)>|!\[CDATA\[)", re.IGNORECASE)
        begun = rf"<(?:/?\w*|/?(?:{names})(?:\s[^<>]*)?/?|!\[?\w*)"
        self.open_end = re.compile(rf"(?:{begun}|&(?:amp;)*(?:a(?:mp?)?|l(?:t(?:;[/!\[\w]*)?)?)?)\Z", re.IGNORECASE)
        self._hazard = re.compile(rf"<{ahead}|&(?=(?:amp;)*lt;{ahead})", re.IGNORECASE)
        self._hidden = re.compile(rf"&(amp;)?((?:amp;)*lt;){ahead}", re.IGNORECASE)
        self.safe = {f.name: msgspec.structs.replace(f, render=self._hiding(f)) for f in fields}

    def _hiding(self, field: FieldInfo) -> Any:
        def hide(text: str) -> str:
            return self._hazard.sub(_escaped, text) if "<" in text or "&" in text else text

        def render(value: Any) -> Content:
            return mapped(hide, base.shown(field, value))

        return render

    def show(self, text: str) -> str:
        """A value as it was."""
        text = text.strip()
        if text.startswith(_CDATA) and text.find(_CDATA_END) == len(text) - len(_CDATA_END):
            return text[len(_CDATA) : -len(_CDATA_END)]
        return self.unhidden(text)

    def unhidden(self, text: str) -> str:
        """A piece of a value with its tags as they were."""
        return self._hidden.sub(lambda mark: f"&{mark[2]}" if mark[1] else "<", text) if "&" in text else text

    def found(self, text: str) -> Iterator[_Tag]:
        """The tags in a reply, but for those in CDATA."""
        place, last_data = 0, text.rfind(_CDATA_END)
        while (mark := self.tag.search(text, place)) is not None:
            place = mark.end()
            if mark[2] is None:  # CDATA; without an end it is text
                place = text.find(_CDATA_END, place) if place <= last_data else place
                continue
            name = self.name(mark)
            if name is not None:
                yield _Tag(name, self.kind(mark), mark.start(), place)

    def name(self, mark: re.Match[str]) -> str | None:
        """The field that a tag is of."""
        return self._names.get(mark[2]) or self._names.get(mark[2].casefold())

    def kind(self, mark: re.Match[str]) -> str:
        """Whether it opens, closes or is empty."""
        return "close" if mark[1] else "empty" if mark[3] else "open"


def _escaped(mark: re.Match[str]) -> str:
    return "&lt;" if mark[0] == "<" else "&amp;"


def _tags_of(compiled: CompiledSignature) -> _Tags:
    tags: _Tags | None = compiled.templates.get("xml tags")
    if tags is None:
        tags = compiled.templates["xml tags"] = _Tags(compiled.fields.values())
    return tags


def _balanced(tags: Iterable[_Tag], text: str) -> list[tuple[str, str]] | None:
    """Fields with the text between their tags, if each that opens is closed; a field's own tag may stand in it."""
    sections = []
    outer, depth = None, 0
    for tag in tags:
        if outer is None:
            if tag.kind == "close":
                return None
            if tag.kind == "empty":
                sections.append((tag.name, ""))
            else:
                outer, depth = tag, 1
        elif tag.name == outer.name and tag.kind != "empty":
            depth += 1 if tag.kind == "open" else -1
            if depth == 0:
                sections.append((tag.name, text[outer.end : tag.start]))
                outer = None
    return sections if outer is None else None


def _by_lines(tags: Iterable[_Tag], text: str) -> list[tuple[str, str]]:
    """The same where only a tag that begins a line opens; the last need not be closed. Raises ValueError."""
    sections = []
    outer, inner = None, False
    for tag in tags:
        if outer is None:
            if tag.kind == "close":
                raise ValueError(f"`</{tag.name}>` closes nothing")
            if tag.kind == "open" and _begins_line(text, tag.start):
                outer, inner = tag, False
        elif tag.name == outer.name and tag.kind == "close":
            sections.append((tag.name, text[outer.end : tag.start]))
            outer = None
        else:
            inner = True
    if outer is not None and inner:
        raise ValueError(f"`<{outer.name}>` is not closed")
    return sections if outer is None else [*sections, (outer.name, text[outer.end :])]


def _begins_line(text: str, start: int) -> bool:
    before = text[max(0, start - _MARGIN) : start]
    return (start <= _MARGIN or "\n" in before) and _LINE_START.search(before) is not None


def _own(compiled: CompiledSignature, sections: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What comes before the model goes on with an example of its own."""
    needed = {field.name for field in compiled.outputs if field.required}
    for index, (name, _) in enumerate(sections):
        if name in compiled.input_names and not needed:
            return sections[:index]
        needed.discard(name)
    return sections


def _by_item(compiled: CompiledSignature, tags: _Tags, sections: list[tuple[str, str]]) -> dict[str, str]:
    """Outputs of a list that have a tag for each item, as JSON; not those that stand there whole more than once."""
    found: dict[str, list[str]] = {}
    for name, text in sections:
        found.setdefault(name, []).append(tags.show(text))
    lists = {name: _items(compiled.fields[name], texts) for name, texts in found.items() if len(texts) > 1}
    return {name: msgspec.json.encode(items).decode() for name, items in lists.items() if items is not None}


def _items(field: FieldInfo, texts: list[str]) -> list[Any] | None:
    """The item of each text, None if one of them may be more than that."""
    shared = field.schema.get("$defs", {})
    if field.role != "output" or field.schema.get("type") != "array" or "prefixItems" in field.schema:
        return None
    kind = resolved(field.schema.get("items"), shared)
    items: list[Any] = []
    for text in texts:
        item: Any = text
        with suppress(ValueError):
            item = read_tags(text, {**kind, "$defs": shared}) if text.startswith("<") else item
            item = read_json(text) if text.startswith("{") else item
        if text.startswith("[") or (text.startswith("<") and item in (text, None)):
            return None
        if isinstance(item, dict) and not item.keys() <= kind.get("properties", {}).keys():
            return None
        items.append(item)
    return items


def _value(field: FieldInfo, text: str) -> str:
    """The text, or JSON of it where a value of structure is written in tags, or as an empty one. Raises ValueError."""
    if not text and not field.schema.keys() & {"properties", "prefixItems"}:
        return _EMPTY.get(field.schema.get("type"), text)
    if field.annotation is str or not text.startswith("<"):
        return text
    with suppress(ValueError):
        field.decode(text)  # a text after all
        return text
    data = read_tags(text, field.schema)
    return text if data is None else msgspec.json.encode(data).decode()


XML = XMLAdapter()
