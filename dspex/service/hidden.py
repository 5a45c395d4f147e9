"""What of a call may stand in a file that is kept: its request for people, without keys."""

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from dspex.core.endpoint import Endpoint
from dspex.core.secret import SHORTEST_HIDDEN

SHORT = 2_000  # characters kept of a text in the request beside a reply, which is for people
HIDDEN = frozenset({"api_key", "headers", "extra_headers", "authorization"})
LEAST = 8  # characters of what may be a key elsewhere: a header's value, a variable
_encoder = msgspec.json.Encoder()


class Hidden(tuple[str, ...]):
    """Texts that must not stand in a file, nor in a traceback with the values of local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Hidden({len(self)})"


class Cleaner:
    """Puts `***` for secrets into the texts of a value, not into its bytes: a key may read like a part of JSON's or ours."""

    def __init__(self, secrets: Hidden) -> None:
        self._forms = Hidden(
            dict.fromkeys(form for one in secrets for form in (one, _encoder.encode(one)[1:-1].decode()))
        )

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str):
            for form in self._forms:
                value = value.replace(form, "***")
            return value
        if isinstance(value, Mapping):
            return {name: self(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self(item) for item in value]
        return self(msgspec.to_builtins(value)) if isinstance(value, msgspec.Struct) else value

    def passages(self, value: bytes | None) -> bytes | None:
        """The same in what a retriever's service packs."""
        return None if value is None else msgspec.msgpack.encode(self(msgspec.msgpack.decode(value)))


def secrets_of(endpoint: Endpoint) -> Hidden:
    """What of an endpoint must not stand in a file: its key, its headers' values, keys of the environment."""
    key = endpoint.api_key
    environment = [value for name, value in os.environ.items() if name.endswith("_API_KEY") and len(value) >= LEAST]
    headers = [value for value in endpoint.headers.values() if len(value) >= LEAST]
    found = [*headers, *(value.removeprefix("Bearer ") for value in headers), *environment]
    own = [key.reveal()] if key is not None and len(key.reveal()) >= SHORTEST_HIDDEN else []
    return Hidden(dict.fromkeys([*own, *found]))


def shown(value: Any) -> Any:
    """A request for people: JSON data, long texts shortened, what may be secret hidden."""
    return _short(msgspec.to_builtins(value, str_keys=True, enc_hook=repr))


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= SHORT else f"{value[:SHORT]}... ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {name: "***" if name in HIDDEN else _short(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(item) for item in value]
    return value
