"""Arguments of a callable: a JSON schema for each, and the check that makes a model's values fit them."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from types import MappingProxyType, NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from dspex.core.errors import ConfigurationError
from dspex.core.identity import plain
from dspex.core.nearest import did_you_mean
from dspex.program.pydantic_models import is_pydantics, reason
from dspex.program.values import codec, from_plain, is_optional, leaves, type_text

_DATA = frozenset({"default", "enum", "const", "examples"})  # parts of a schema that are values, not schemas
_SHOWN = 60


class Argument(msgspec.Struct, frozen=True, eq=False):
    """One argument; `convert` raises ValueError for a value that does not fit."""

    schema: Mapping[str, Any]
    convert: Callable[[Any], Any]
    kind: Any = Any
    required: bool = True


class Arguments(msgspec.Struct, frozen=True, eq=False):
    """All that a callable takes; `is_open` if it takes keywords of any name, `positional` those it takes no other way."""

    known: Mapping[str, Argument]
    is_open: bool = False
    positional: tuple[str, ...] = ()

    def faults(self, given: Mapping[str, Any]) -> Iterator[str]:
        """What is missing or unknown, in words."""
        yield from (f"{name!r} is missing" for name, one in self.known.items() if one.required and name not in given)
        if not self.is_open:
            unknown = [name for name in given if name not in self.known]
            yield from (f"{name!r:.{_SHOWN}} is unknown.{did_you_mean(name, self.known)}" for name in unknown)

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values, converted. Raises ValueError that names each argument at fault."""
        faults = list(self.faults(given))
        values = {}
        for name, value in given.items():
            one = self.known.get(name)
            try:
                values[name] = value if one is None else one.convert(value)
            except Exception as error:  # noqa: BLE001  whatever a type's own check raises, the value does not fit
                wanted = "" if one is None else type_text(one.kind)
                faults.append(f"{name!r} should be {wanted}: {reason(error)}")
        if faults:
            raise ValueError("; ".join(faults))
        return values

    def call(self, function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        """Call `function` with checked values."""
        if not self.positional:
            return function(**values)
        first = [values[name] for name in self.positional if name in values]
        return function(*first, **{name: value for name, value in values.items() if name not in self.positional})


def unwrapped(function: Any) -> Any:
    """What a partial calls in the end."""
    while isinstance(function, partial):
        function = function.func
    return function


def declaring(function: Any) -> Any:
    """The function that has the types: behind a partial, a class, or an object that can be called."""
    function = unwrapped(function)
    if inspect.isclass(function):
        return function.__init__
    return function if inspect.isroutine(function) else type(function).__call__


def arguments_of(
    function: Callable[..., Any],
    schemas: Mapping[str, Mapping[str, Any]] | None = None,
    types: Mapping[str, Any] | None = None,
    notes: Mapping[str, str] | None = None,
    required: Iterable[str] | None = None,
) -> Arguments:
    """What a callable takes: from its signature, unless `schemas`, `types`, `notes` (descriptions) or `required` say so.

    Raises ConfigurationError where the signature can't be read, or something is said of an argument that there is not.
    """
    types, notes = types or {}, notes or {}
    parameters = _parameters(function, is_needed=schemas is None)
    named = {name: one for name, one in parameters.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    kinds = {**_hints(function, named.keys() - types.keys()), **types}
    known = {}
    for name in named if schemas is None else schemas:
        given = None if schemas is None else schemas[name]
        known[name] = _argument(kinds.get(name, Any), named.get(name), given, notes.get(name))
    for name in (*notes, *types, *(required or ())):
        if name not in known:
            raise ConfigurationError(f"{_name(function)} has no argument {name!r}.{did_you_mean(name, known)}")
    if required is not None:
        wanted = set(required)
        known = {name: msgspec.structs.replace(one, required=name in wanted) for name, one in known.items()}
    is_open = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    positional = tuple(name for name, one in named.items() if one.kind is one.POSITIONAL_ONLY)
    return Arguments(MappingProxyType(known), is_open, positional)


def _name(function: Any) -> str:
    return getattr(declaring(function), "__qualname__", "") or repr(function)


def _parameters(function: Callable[..., Any], *, is_needed: bool) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        if is_needed:
            raise ConfigurationError(
                f"The signature of {_name(function)} cannot be read ({error}): give args= with a JSON schema for each argument."
            ) from error
        return {}


def _hints(function: Callable[..., Any], wanted: AbstractSet[str]) -> dict[str, Any]:
    declared = declaring(function)
    try:
        hints = get_type_hints(declared, include_extras=True)
    except Exception as error:  # whatever looking up an annotation raises
        hints = dict(getattr(declared, "__annotations__", {}))
        unknown = [name for name in hints if name in wanted and isinstance(hints[name], str)]
        if unknown:
            raise ConfigurationError(
                f"The types of {', '.join(unknown)} of {_name(function)} cannot be looked up ({error}): give arg_types=."
            ) from error
    return {name: kind for name, kind in hints.items() if name in wanted}


def _argument(
    kind: Any, parameter: inspect.Parameter | None, given: Mapping[str, Any] | None, note: str | None
) -> Argument:
    schema, convert = _read(kind)
    default = inspect.Parameter.empty if parameter is None else parameter.default
    if given is not None:
        schema, required = dict(given), "default" not in given and (parameter is None or default is parameter.empty)
    else:
        required = default is inspect.Parameter.empty
        schema = inlined(schema)
    if not required and given is None:
        with suppress(TypeError, ValueError):  # one without a JSON form is left to the function
            schema["default"] = plain(default)
    if note is not None:
        schema["description"] = note
    if default is None:  # `x: int = None` takes what it says it takes
        return Argument(schema, lambda value: None if value is None else convert(value), kind, required)
    return Argument(schema, convert, kind, required)


def _read(kind: Any) -> tuple[Mapping[str, Any], Callable[[Any], Any]]:
    """The JSON schema of a type, and the way from JSON data to it."""
    if kind is Any:
        return {}, lambda value: value
    try:
        known = codec(kind)
    except (TypeError, ValueError):  # no JSON is such a value: only an object of it will do
        return {}, partial(from_plain, kind) if isinstance(get_origin(kind) or kind, type) else lambda value: value
    is_text = _is_text(kind)
    if any(hasattr(leaf, "__pydantic_validator__") for leaf in leaves(kind)):
        return known.schema, known.convert
    if any(map(is_pydantics, leaves(kind))):
        return known.schema, lambda value: known.convert(msgspec.convert(value, str | None) if is_text else value)

    def read(value: Any) -> Any:
        try:
            return msgspec.convert(value, kind, dec_hook=from_plain)
        except (ValueError, TypeError):
            if is_text:  # a number written as text may lose what it meant
                raise
            return known.convert(value)

    return known.schema, read


def _is_text(kind: Any) -> bool:
    kind = _unnoted(kind)
    return {_unnoted(one) for one in (get_args(kind) if is_optional(kind) else (kind,))} - {NoneType} == {str}


def _unnoted(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema without `$defs` and titles; where a type holds itself, the inner one is any object."""
    return _inlined(schema, {}, ())


def _inlined(schema: Mapping[str, Any], shared: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
    shared = {**shared, **schema.get("$defs", {})}
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name in within:
        return {"type": "object"}
    if name in shared:
        schema = {**shared[name], **{key: value for key, value in schema.items() if key != "$ref"}}
        within = (*within, name)
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            made[key] = {inner: _inlined(one, shared, within) for inner, one in value.items()}
        elif isinstance(value, Mapping) and key not in {*_DATA, "$defs"}:
            made[key] = _inlined(value, shared, within)
        elif isinstance(value, (list, tuple)) and key not in _DATA:
            made[key] = [_inlined(one, shared, within) if isinstance(one, Mapping) else one for one in value]
        elif key not in {"$defs", "title"}:
            made[key] = value
    return made
