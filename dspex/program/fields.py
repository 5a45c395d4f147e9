"""Fields of a signature: what a user declares with InputField and OutputField, and what an adapter sees of them."""

import keyword
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypedDict, Unpack, get_args

import msgspec

from dspex.core.errors import SignatureTypeError
from dspex.core.identity import plain
from dspex.core.nearest import did_you_mean
from dspex.program.parts import restorer
from dspex.program.values import TEXT, codec, is_optional, type_text

_RESERVED = frozenset("signature demos config lm new_signature fields input_fields output_fields instructions".split())
_WORD_ENDS = re.compile(r"(?<=[a-z])(?=[A-Z\d])|(?<=[A-Z])(?=[A-Z][a-z]|\d)|(?<=\d)(?=[A-Za-z])|_+")
_written = msgspec.json.encode
_SIGNS: Mapping[str, str] = MappingProxyType(
    {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "multiple of"}
    | {"min_length": "length >=", "max_length": "length <=", "pattern": "pattern"}
)


class FieldOptions(TypedDict, total=False):
    """What a field may be declared with."""

    desc: str | None
    prefix: str | None
    default: Any
    default_factory: Callable[[], Any] | None
    gt: float
    ge: float
    lt: float
    le: float
    multiple_of: float
    min_length: int
    max_length: int
    pattern: str
    allow_inf_nan: bool
    description: str | None
    format: Any
    parser: Any


class FieldInfo(msgspec.Struct, frozen=True, eq=False):
    """One field. It gets name and type when a signature takes it in, the rest (`FieldView`) when that is compiled."""

    role: str
    desc: str = ""
    given_prefix: str | None = None
    default: Any = msgspec.UNSET
    default_factory: Callable[[], Any] | None = None
    meta: msgspec.Meta | None = None
    name: str = ""
    annotation: Any = None
    type_text: str = "str"
    prefix: str = ""
    constraints: str = ""
    required: bool = True
    render: Callable[[Any], str] = TEXT.render
    decode: Callable[[str], Any] = TEXT.decode
    convert: Callable[[Any], Any] = TEXT.convert
    choices: tuple[str, ...] = ()
    schema: Mapping[str, Any] = TEXT.schema
    restore: Callable[[Any], Any] | None = None

    @property
    def json_schema_extra(self) -> dict[str, Any]:
        """DSPy's keys."""
        extra = {"desc": self.desc or f"${{{self.name}}}", "prefix": self.prefix, "__dspy_field_type": self.role}
        return extra | ({"constraints": self.constraints} if self.constraints else {})

    def is_required(self) -> bool:
        """DSPy's name for `required`."""
        return self.required

    def absent(self) -> Any:
        """The value where none was given: the default, or None."""
        if self.default_factory is not None:
            return self.default_factory()
        default = None if self.default is msgspec.UNSET else self.default
        return deepcopy(default) if isinstance(default, (list, dict, set)) else default

    def typed(self, data: Any) -> Any:
        """JSON data as a value of this field's type; as it is where such a value would be written otherwise."""
        try:
            value = (self.restore or self.convert)(data)
            return value if value is data or _written(plain(value)) == _written(data) else data
        except (ValueError, TypeError, RecursionError):
            return data

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle looks for UNSET in every module there is, and those of ours that look for plugins' names import them then.
        options = {name: value for name, value in self.options.items() if value is not msgspec.UNSET}
        return _made_again, (self.role, options, self.name, self.annotation, bool(self.prefix))

    def bound(self, name: str, annotation: Any) -> "FieldInfo":
        """This field under a name and with a type, whose notes (`Annotated`) tell what the field itself does not."""
        kind = type(None) if annotation is None else annotation
        if written := getattr(kind, "__metadata__", ()):
            return self._noted(name, kind, written)
        return FieldInfo(
            self.role, self.desc, self.given_prefix, self.default, self.default_factory, self.meta, name, kind
        )

    def _noted(self, name: str, kind: Any, written: tuple[Any, ...]) -> "FieldInfo":
        notes = [note for note in written if not isinstance(note, FieldInfo)]
        kept = [note for note in notes if not _foreign_bounds([note])]
        if len(kept) < len(written):
            kind = Annotated[get_args(kind)[0], *kept] if kept else get_args(kind)[0]
        told = (note if isinstance(note, str) else getattr(note, "description", None) for note in notes)
        desc = self.desc or next(filter(None, told), "")
        bounds = _foreign_bounds(notes)
        try:
            meta = msgspec.Meta(**{**bounds, **_bounds(self.meta)}) if bounds else self.meta
        except (TypeError, ValueError) as error:
            raise SignatureTypeError(f"Field {name!r} of type {type_text(kind)}: {error}") from error
        return FieldInfo(self.role, desc, self.given_prefix, self.default, self.default_factory, meta, name, kind)

    @property
    def options(self) -> dict[str, Any]:
        """What it was declared with, as `field` takes it."""
        names = ("desc", "default", "default_factory")
        return {**{name: getattr(self, name) for name in names}, "prefix": self.given_prefix, **_bounds(self.meta)}

    @property
    def constrained(self) -> Any:
        """The type with the field's constraints in it, on the part that is not None."""
        kind, meta = self.annotation, self.meta
        if meta is None or not is_optional(kind) or len(get_args(kind)) > 2:
            return kind if meta is None else Annotated[kind, meta]
        return Annotated[next(arg for arg in get_args(kind) if arg is not type(None)), meta] | None

    def ready(self) -> "FieldInfo":
        """This field with all that follows from its type.

        Raises SignatureTypeError for an output whose type can't be read from a reply.
        """
        if self.prefix:
            return self
        prefix = f"{infer_prefix(self.name)}:" if self.given_prefix is None else self.given_prefix
        required = self.default is msgspec.UNSET and self.default_factory is None and not is_optional(self.annotation)
        if self.annotation is str and self.meta is None:
            return msgspec.structs.replace(self, prefix=prefix, required=required)
        notes = [note for note in getattr(self.annotation, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
        bounds = {key: bound for note in (*notes, self.meta) for key, bound in _bounds(note).items()}
        words = ", ".join(f"{sign} {bounds[key]}" for key, sign in _SIGNS.items() if key in bounds)
        try:
            known = codec(self.constrained)
        except Exception as error:  # what a type's own library raises over it: pydantic has a RuntimeError
            if self.role == "output":
                why = str(error).partition("\n")[0]
                raise SignatureTypeError(f"Field {self.name!r} of type {type_text(self.annotation)}: {why}") from error
            known = TEXT  # an input is only written
        found = {"prefix": prefix, "required": required, "type_text": type_text(self.annotation), "constraints": words}
        return msgspec.structs.replace(
            self, **found, restore=restorer(self.annotation), **msgspec.structs.asdict(known)
        )


def field(
    role: str,
    *,
    desc: str | None = None,
    prefix: str | None = None,
    default: Any = msgspec.UNSET,
    default_factory: Callable[[], Any] | None = None,
    description: str | None = None,
    format: Any = None,  # noqa: ARG001
    parser: Any = None,  # noqa: ARG001
    allow_inf_nan: bool = False,
    **constraints: Any,
) -> FieldInfo:
    """A field of that role; `format` and `parser` are taken for DSPy's sake and do nothing."""
    if allow_inf_nan:
        raise TypeError("allow_inf_nan=True: numbers in a reply are always finite.")
    if unknown := constraints.keys() - _SIGNS.keys():
        name = min(unknown)
        raise TypeError(f"A field has no option {name!r}.{did_you_mean(name, (*_SIGNS, 'desc', 'prefix', 'default'))}")
    meta = msgspec.Meta(**constraints) if constraints else None
    default = msgspec.UNSET if default is ... else default
    return FieldInfo(role, desc or description or "", prefix, default, default_factory, meta)


def _made_again(role: str, options: dict[str, Any], name: str, annotation: Any, was_ready: bool) -> FieldInfo:
    """A field from what it was declared with: what follows from its type, decoders for one, cannot be sent."""
    one = msgspec.structs.replace(field(role, **options), name=name, annotation=annotation)
    return one.ready() if was_ready else one


def InputField(**options: Unpack[FieldOptions]) -> Any:  # noqa: N802  a declaration, named as DSPy does
    """An input: desc, prefix, default, default_factory, gt, ge, lt, le, min_length, max_length, pattern, multiple_of."""
    return field("input", **options)


def OutputField(*, init: Literal[False] = False, **options: Unpack[FieldOptions]) -> Any:  # noqa: ARG001, N802
    """An output; takes what InputField takes. With a default, or a type that allows None, a reply may lack it.

    `init` tells type checkers that a call is not given this field, and does nothing.
    """
    return field("output", **options)


def _bounds(meta: msgspec.Meta | None) -> dict[str, Any]:
    return {key: bound for key in _SIGNS if (bound := getattr(meta, key, None)) is not None}


def _foreign_bounds(notes: Iterable[Any]) -> dict[str, Any]:
    """Constraints of annotated_types and of pydantic's Field, which holds them as `metadata`, by their names."""
    foreign = (note for note in notes if not isinstance(note, (msgspec.Meta, str)))
    return {
        key: bound
        for note in foreign
        for part in getattr(note, "metadata", None) or (note,)
        for key, bound in _bounds(part).items()
    }


def infer_prefix(name: str) -> str:
    """`camelCaseText2` to `Camel Case Text 2`."""
    return " ".join(word if word.isupper() else word.capitalize() for word in _WORD_ENDS.split(name) if word)


def name_fault(name: str) -> str:
    """What is wrong with a field's name, or an empty string."""
    if not name.isidentifier() or keyword.iskeyword(name):
        return f"{name!r} cannot be a field's name: it must be an identifier and no Python keyword"
    if name in _RESERVED or name.startswith("_"):
        return f"{name!r} is reserved: rename the field"
    return (
        "" if name.isascii() or unicodedata.normalize("NFKC", name) == name else f"{name!r} is not in Unicode form NFKC"
    )
