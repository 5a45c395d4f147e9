"""Type: the base of values that write themselves into a prompt, as text or as parts of a message."""

import sys
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Self, dataclass_transform, get_origin

import msgspec

from dspex.core.errors import ConfigurationError
from dspex.core.identity import plain
from dspex.program.pydantic_models import NO_PARTS, is_pydantics
from dspex.program.types.arguments import inlined
from dspex.program.values import Codec, from_plain, render, schema_of, structured


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Type:
    """A frozen record of the fields that a subclass annotates, given by keyword. Raises ValueError where one does not fit.

    A subclass says by `format` how it is written, and by `parse` how it is read from a reply that is no JSON.
    """

    readable: ClassVar[bool] = True  # whether it can be an output
    goes_natively: ClassVar[bool] = False  # whether some providers give it beside the text

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            if type(value).__name__ == "PydanticDescriptorProxy":
                raise ConfigurationError(
                    f"{cls.__name__}.{name} is a validator or serializer of pydantic, which nobody would call: a dspex.Type is "
                    "no pydantic model. Check values in __init__, write `format` and `parse`, or make it a pydantic model."
                )

    def __init__(self, **values: Any) -> None:
        kind: Any = type(self)
        record = msgspec.convert(values, _record(kind), dec_hook=from_plain)
        vars(self).update(msgspec.structs.asdict(record))

    def format(self) -> Any:
        """What a prompt has of it: a text, a list of parts (dictionaries in OpenAI's form), or data that becomes JSON."""
        return dict(vars(self))

    @classmethod
    def description(cls) -> str:
        """What the prompt says of the type beside its name."""
        return ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value that a model's text has. Where this is not overridden, the text is JSON. Raises ValueError."""
        raise ValueError(f"expected JSON for {cls.__name__}, got {text[:60]!r}")

    @classmethod
    def from_plain(cls, data: Any) -> Self:
        """The value that JSON data has, as `toDict` gives them. Raises ValueError."""
        if isinstance(data, cls):
            return data
        if isinstance(data, str):
            return cls.parse(data)
        if not isinstance(data, Mapping):
            raise ValueError(f"expected {cls.__name__}, got {type(data).__name__}")  # noqa: TRY004  msgspec's way
        try:
            return cls(**data)
        except TypeError as error:
            raise ValueError(f"expected {cls.__name__}: {error}") from error

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema of what `from_plain` reads. Raises TypeError for what cannot be read."""
        if not cls.readable:
            raise TypeError(f"{cls.__name__} cannot be read from text")
        kind: Any = cls
        return inlined(msgspec.json.schema(_record(kind), schema_hook=schema_of))

    @classmethod
    def field_codec(cls) -> Codec:
        """How a field of this type is read and written. Raises TypeError for what cannot be read."""
        if getattr(cls.parse, "__func__", None) is getattr(Type.parse, "__func__", None):
            return structured(cls)
        return Codec(cls.parse, cls.from_plain, _text, (), cls.json_schema())

    def toDict(self) -> Any:  # noqa: N802  DSPy's name
        """The value as JSON data."""
        return {name: plain(value) for name, value in vars(self).items()}

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={_short(value)}' for name, value in vars(self).items())})"

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: make a new one with another {name}.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: its {name} stays.")

    # What pydantic asks of a class that it does not know

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        schemas = sys.modules["pydantic_core"].core_schema  # loaded, for it asks
        to_json = schemas.plain_serializer_function_ser_schema(_to_json, info_arg=True, when_used="json")
        return schemas.no_info_plain_validator_function(cls.from_plain, serialization=to_json)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return cls.json_schema()


@cache
def _record(kind: Any) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(kind, include_extras=True)
    own = [(name, hint) for name, hint in hints.items() if get_origin(hint) is not ClassVar]
    columns = [_column(kind, name, hint) for name, hint in own]
    return msgspec.defstruct(kind.__name__, columns, kw_only=True, forbid_unknown_fields=True)


def _column(kind: Any, name: str, hint: Any) -> Any:
    """Name, type and default of a field, which pydantic's `Field` may describe."""
    if not hasattr(kind, name):
        return name, hint
    given = getattr(kind, name)
    if not is_pydantics(given):
        return name, hint, given
    told = Annotated[hint, msgspec.Meta(description=given.description)] if given.description else hint
    if given.is_required():
        return name, told
    if given.default_factory is not None:
        return name, told, msgspec.field(default_factory=given.default_factory)
    return name, told, given.default


def _to_json(value: Any, info: Any) -> Any:
    if (info.context or {}).get(NO_PARTS):
        raise ValueError(f"{type(value).__name__} becomes parts of a message")
    return value.toDict()


def _text(value: Any) -> str:
    form = value.format() if isinstance(value, Type) else value
    return form if isinstance(form, str) else render(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:60]}...<{len(text)} characters>"
