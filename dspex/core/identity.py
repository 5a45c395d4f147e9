"""Keys made of content: equal things have equal keys, in any process and on any Python."""

import hashlib
import math
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from dspex.core.errors import ConfigurationError

_AS_IT_IS = frozenset({str, int, bool, type(None)})
_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="string", uuid_format="canonical")


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, whole floats as integers, no NaN.

    Raises ConfigurationError for values that JSON has no form for.
    """
    try:
        return _encoder.encode(_normal(value))
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        raise ConfigurationError(f"A value cannot be part of an identity key: {error}") from error


def digest(value: Any) -> str:
    """blake2b-128 over the canonical JSON of `value`, 32 hex digits."""
    return hashlib.blake2b(canonical(value), digest_size=16).hexdigest()


def _normal(value: Any) -> Any:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is dict:
        return {str(key): item if type(item) in _AS_IT_IS else _normal(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [item if type(item) in _AS_IT_IS else _normal(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value!r} has no JSON form")
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {str(key): _normal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_normal(item) for item in value), key=repr)
    if isinstance(value, msgspec.Struct):
        return _normal(msgspec.structs.asdict(value) | {"$type": type(value).__name__})
    return plain(value)


def plain(value: Any) -> Any:
    """`value` as JSON data: Structs, dataclasses, pydantic models, dates, enums, numpy's numbers and the like become plain.

    Raises TypeError for what has no JSON form.
    """
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain_hook)


def _plain_hook(value: Any) -> Any:
    if (dump := getattr(value, "model_dump", None)) is not None:
        return dump(mode="json")  # else its fields may be of types that only pydantic knows
    if (dump := getattr(value, "toDict", None)) is not None:
        return dump()
    if (listed := getattr(value, "tolist", None)) is not None:
        return listed()  # numbers and arrays of numpy and its like
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (complex, os.PathLike)):
        return str(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")
