"""Values of a field: how one is written into a prompt, and read from a reply.

Reading is tolerant where the meaning is certain (fences, quotes, case, Python's spelling, digit groups), and else a
ValueError: a reply is never read as a value that it may not mean.
"""

import math
import re
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from dspex.program.finite import is_infinite, may_be_infinite
from dspex.program.json_text import FENCED, UNREADABLE, read_json, refuse_doubles
from dspex.program.pydantic_models import Reader, annotated, dumped, reader, reason, textual, validated

_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_AS_TYPE = re.compile(r"\A\s*(?:Literal|str)\[(.*)\]\s*\Z", re.DOTALL)  # how a prompt may have written the type
_WHOLE = re.compile(r"([+-]?\d+)\.0{0,2}")
_NULLS = ("null", "None")


class Codec(msgspec.Struct, frozen=True):
    """What a type can do; `decode` reads a model's text, `convert` JSON data, both raise ValueError."""

    decode: Callable[[str], Any]
    convert: Callable[[Any], Any]
    render: Callable[[Any], str]
    choices: tuple[str, ...] = ()
    schema: Mapping[str, Any] = types.MappingProxyType({"type": "string"})


def codec(annotation: Any) -> Codec:
    """The codec of a type; a class may bring its own (`field_codec`). Raises TypeError for one that can't be read."""
    if annotation is str:
        return TEXT
    if (own := getattr(annotation, "field_codec", None)) is not None:
        made: Codec = own()
        return made
    if get_origin(annotation) is Annotated:
        return _annotated(annotation)
    members = [arg for arg in get_args(annotation) if arg is not type(None)]
    if is_optional(annotation) and len(members) == 1:
        return _optional(members[0])
    if annotation in _SCALARS:
        choices = {"true": True, "false": False} if annotation is bool else {}
        return _worded(_SCALARS[annotation], choices, msgspec.json.schema(annotation))
    if get_origin(annotation) is Literal:
        return _chosen(annotation, members, {})
    if isinstance(annotation, type) and issubclass(annotation, Enum) and len(annotation):
        return _chosen(annotation, list(annotation), {member.name: member for member in annotation})
    return structured(annotation)


def is_optional(annotation: Any) -> bool:
    """Whether None is a value of the type."""
    return get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)


def type_text(annotation: Any) -> str:
    """A type as a signature would write it: `list[str] | None`."""
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, list):  # the parameters of a Callable
        return f"[{', '.join(map(type_text, annotation))}]"
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is None or not hasattr(annotation, "__args__"):  # typing.List alone has an origin
        return "..." if annotation is ... else getattr(annotation, "__name__", None) or str(annotation)
    if origin is Annotated:
        return type_text(args[0])
    if origin in (Union, types.UnionType):
        return " | ".join(map(type_text, args))
    texts = [str(a) if isinstance(a, Enum) else repr(a) for a in args] if origin is Literal else map(type_text, args)
    return f"{getattr(origin, '__name__', origin)}[{', '.join(texts) or '()'}]"


def render(value: Any) -> str:
    """A value as it stands in a prompt: text, and what JSON has as text, as it is; everything else as JSON."""
    value = value.value if isinstance(value, Enum) else value
    if isinstance(value, (str, float, complex)):
        return str(value)
    try:
        text = _encoder.encode(value)
        return msgspec.json.decode(text, type=str) if text[:1] == b'"' else text.decode()  # a date, a path
    except (ValueError, TypeError, OverflowError):  # lone surrogates, keys that are no text, huge integers
        return _as_json(value, default=str) if isinstance(value, (dict, list)) else str(value)
    except RecursionError:  # it holds itself
        return str(value)


def _as_json(value: Any, default: Any = None) -> str:
    import json

    return json.dumps(value, default=default)


def to_plain(value: Any) -> Any:
    """The `enc_hook` of msgspec in a prompt: classes that it does not know."""
    if hasattr(value, "model_dump"):
        return dumped(value)
    dump = getattr(value, "toDict", None) or getattr(value, "tolist", None)  # of numpy's numbers and arrays
    return dump() if dump else dict(value) if isinstance(value, Mapping) else str(value)


_encoder = msgspec.json.Encoder(enc_hook=to_plain)


def from_plain(kind: Any, value: Any) -> Any:
    """The `dec_hook` of msgspec: classes that it does not know. Raises ValueError."""
    if isinstance(value, get_origin(kind) or kind):
        return value
    if (read := getattr(kind, "from_plain", None)) is not None:
        return read(value)
    if hasattr(kind, "model_validate"):
        return validated(kind, value)
    if isinstance(value, str) and value:
        if _is_of_text(kind):
            return kind(value)
        if (known := textual(kind)) is not None:
            return known.from_data(value)
    raise ValueError(f"expected {type_text(kind)}, got {type(value).__name__}")


def _unfit(text: str, wanted: str, why: str = "") -> ValueError:
    return ValueError(f"expected {wanted}, got {text if len(text) <= 60 else f'{text[:50]}...'!r}{why}")


def _bare(text: str) -> str:
    fenced = FENCED.fullmatch(text.strip()) if "```" in text else None
    return (fenced[1] if fenced else text).strip().strip("`*\"'").strip()


# Types that are read from words


def _as_text(value: Any) -> str:
    if value is None:
        raise ValueError("expected str, got null")
    return value if type(value) is str else render(value)


TEXT = Codec(str, _as_text, render)


def _optional(annotation: Any) -> Codec:
    """Null is None; a value that is written as null is, or as nothing, is put in quotes, so that it stays one."""
    inner = codec(annotation)
    is_text = inner.decode is str

    def decode(text: str) -> Any:
        if text in _NULLS or not (text or is_text):
            return None
        quoted = is_text and text[:1] == '"' == text[-1:] and text.strip('"') in _NULLS
        return inner.decode(text[1:-1] if quoted else text)

    def convert(value: Any) -> Any:
        if value is None:
            return None
        try:
            return inner.convert(value)
        except ValueError:
            if type(value) is str and value in _NULLS:
                return None
            raise

    def write(value: Any) -> str:
        text = inner.render(value)
        is_null = text.strip('"') in _NULLS or not (text or is_text)
        return f'"{text}"' if is_null and value is not None else text

    own = {name: part for name, part in inner.schema.items() if name != "$defs"}
    schema = {
        "anyOf": [own, {"type": "null"}],
        **({"$defs": inner.schema["$defs"]} if len(own) < len(inner.schema) else {}),
    }
    return Codec(decode, convert, write, inner.choices, schema)


def _annotated(annotation: Any) -> Codec:
    inner = codec(get_args(annotation)[0])
    if (noted := annotated(annotation)) is not None:
        decode, convert = (partial(_held, annotation, noted, read) for read in (inner.decode, inner.convert))
        return Codec(decode, convert, inner.render, inner.choices, noted.schema())
    if not any(isinstance(note, msgspec.Meta) for note in annotation.__metadata__):
        return inner
    schema = msgspec.json.schema(annotation, schema_hook=schema_of)  # TypeError if a constraint does not fit the type

    def checked(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda value: msgspec.convert(read(value), annotation, dec_hook=from_plain)

    return Codec(checked(inner.decode), checked(inner.convert), inner.render, inner.choices, schema)


def _held(annotation: Any, noted: Reader, read: Callable[[Any], Any], value: Any) -> Any:
    """The value as `read` gives it, if pydantic's constraints hold."""
    found = read(value)
    try:
        return noted.from_data(found)
    except ValueError as error:
        raise _unfit(render(value), type_text(annotation), f": {reason(error).removeprefix(': ')}") from None


def _worded(read: Callable[[str], Any], choices: Mapping[str, Any], schema: Mapping[str, Any]) -> Codec:
    return Codec(read, lambda v: read(v if type(v) is str else render(v)), render, tuple(choices), schema)


def _chosen(annotation: Any, values: list[Any], names: Mapping[str, Any]) -> Codec:
    table = {render(value): value for value in values}
    if len(table) < len(values):
        raise TypeError(f"{type_text(annotation)} has values that are written alike")

    def read(text: str) -> Any:
        bare = _bare(_AS_TYPE.sub(r"\1", text))
        for word in (text, _bare(text), bare, bare.rstrip(".")):
            for known in (table, names):
                if word in known:
                    return known[word]
        near = [value for known in (table, names) for key, value in known.items() if _folded(key) == _folded(word)]
        if near and all(value is near[0] for value in near):
            return near[0]
        raise _unfit(text, f"one of {', '.join(table)}")

    schema = {"enum": [value.value if isinstance(value, Enum) else value for value in values]}
    return _worded(read, table, schema)


def _folded(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text).casefold()


def _bool(text: str) -> bool:
    word = _bare(text).rstrip(".").lower()
    if word not in ("true", "yes", "1", "false", "no", "0"):
        raise _unfit(text, "true or false")
    return word in ("true", "yes", "1")


def _int(text: str) -> int:
    word = _bare(text)
    if _GROUPED.fullmatch(word) and "." not in word:
        word = word.replace(",", "")
    whole = _WHOLE.fullmatch(word)
    try:
        return int(whole[1] if whole else word)
    except ValueError:
        raise _unfit(text, "an integer") from None


def _float(text: str) -> float:
    word = _bare(text)
    if _GROUPED.fullmatch(word) and (word.count(",") > 1 or "." in word):  # "1,234" may mean 1.234
        word = word.replace(",", "")
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _unfit(text, "a finite number")
    return number


def _iso(kind: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind.fromisoformat(_bare(text))
        except ValueError as error:
            raise _unfit(text, f"an ISO {kind.__name__}") from error

    return read


_SCALARS: Mapping[Any, Callable[[str], Any]] = types.MappingProxyType(
    {bool: _bool, int: _int, float: _float, **{kind: _iso(kind) for kind in (datetime, date, time)}}
)

# Types that are read from JSON


def structured(annotation: Any) -> Codec:
    """The codec of a type that is written as JSON. Raises TypeError for one that can't be read."""
    checked = _finite if may_be_infinite(annotation) else lambda read: read
    if (model := reader(annotation, leaves(annotation))) is not None:
        read = checked(_reader(annotation, model.from_json, model.from_data))
        return Codec(read, _or_text(checked(model.from_data), read), render, (), model.schema())
    schema = msgspec.json.schema(annotation, schema_hook=schema_of)
    convert = converter(annotation)
    read = checked(_reader(annotation, msgspec.json.Decoder(annotation, dec_hook=from_plain).decode, convert))

    def write(value: Any) -> str:
        text = render(value)
        if value is None or isinstance(value, (int, float)) or (type(value) is not str and text[:1] in ("{", "[")):
            return text
        try:  # in quotes where the type has this text and would read another value out of it
            return _as_json(text) if read(text) != text == from_data(text) else text
        except ValueError:
            return text

    def from_data(value: Any) -> Any:
        if type(value) is not str:
            return convert(value)
        try:  # a text that the type has; else one that holds the value
            return msgspec.convert(value, annotation, dec_hook=from_plain)
        except UNREADABLE:
            return read(value)

    return Codec(read, checked(from_data), write, (), schema)


def _or_text(convert: Callable[[Any], Any], read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """The value that data are, or that a text among them holds, for models put JSON into JSON."""

    def from_data(value: Any) -> Any:
        try:
            return convert(value)
        except ValueError:
            if type(value) is str:
                with suppress(*UNREADABLE):
                    return read(value)
            raise

    return from_data


def _finite(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        found = read(value)
        if is_infinite(found):
            raise _unfit(render(value), "finite numbers")
        return found

    return checked


def converter(annotation: Any) -> Callable[[Any], Any]:
    """What makes values of a type out of JSON data; it raises ValueError, and TypeError for a type that it can't read."""
    if (model := reader(annotation, leaves(annotation))) is not None:
        return model.from_data
    # Lax reading takes a bare number for a time since 1970, so a year would become a wrong date.
    try:
        strict = bool(re.search("DateTimeType|TimeDeltaType", repr(msgspec.inspect.type_info(annotation))))
    except TypeError:
        strict = True
    return lambda value: msgspec.convert(value, annotation, strict=strict, dec_hook=from_plain)


def _reader(annotation: Any, exact: Callable[[str], Any], convert: Callable[[Any], Any]) -> Callable[[str], Any]:
    """JSON text first, then the text itself as a value (UUID, union with str), then JSON that needs mending."""

    def read(text: str) -> Any:
        try:
            value = exact(text)
        except UNREADABLE:
            value = msgspec.UNSET
        try:
            if value is not msgspec.UNSET:
                refuse_doubles(text)
                return value
            with suppress(*UNREADABLE):
                return convert(text)
            return convert(read_json(text))
        except UNREADABLE as error:
            raise _unfit(text, type_text(annotation), f": {reason(error)}") from None

    return read


def leaves(annotation: Any) -> list[Any]:
    """The types that a type is made of."""
    args = get_args(annotation)
    return [leaf for arg in args for leaf in leaves(arg)] if args else [annotation]


def schema_of(kind: Any) -> Any:
    """The `schema_hook` of msgspec: classes that it does not know. Raises TypeError for what cannot be read."""
    if (own := getattr(kind, "json_schema", None)) is not None:
        return own()
    if hasattr(kind, "model_json_schema"):
        return {"type": "object"}
    if _is_of_text(kind):
        return {"type": "string"}
    if (known := textual(kind)) is not None:
        return known.schema()
    raise TypeError(f"{type_text(kind)} cannot be read from text")


def _is_of_text(kind: Any) -> bool:
    """Whether it is a class of paths or addresses, which are made of their text."""
    return isinstance(kind, type) and kind.__module__.partition(".")[0] in ("pathlib", "ipaddress")
