"""Bytes of a reply to typed data: whatever is wrong with them is a ProtocolError."""

import re
from typing import Any, TypeVar, overload

import msgspec

from dspex.core.errors import ProtocolError

T = TypeVar("T")

SHOWN = 80

# Walks over all escapes, so that the second half of `\\ud800` (a backslash and four letters) is left alone.
_ESCAPES = r"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."


@overload
def decode_json(body: bytes | str, kind: "msgspec.json.Decoder[T]") -> T: ...


@overload
def decode_json(body: bytes | str, kind: type[T]) -> T: ...


@overload
def decode_json(body: bytes | str, kind: Any) -> Any: ...


def decode_json(body: bytes | str, kind: Any) -> Any:
    """`body` as a value of type `kind`; a `msgspec.json.Decoder` that the caller keeps saves making one a call.

    Invalid UTF-8 and lone surrogates become U+FFFD, a byte order mark is dropped. Raises ProtocolError, good for one more
    attempt, for an empty body, anything that is not JSON, NaN, deep nesting and values of the wrong type; and for a web
    page one that is final, as whoever stands in between will send it again.
    """
    decoder = kind if isinstance(kind, msgspec.json.Decoder) else msgspec.json.Decoder(kind)
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's own DecodeError, UnicodeDecodeError and big integers
        fault: Exception = error
    repaired = _repaired(body)
    if repaired != body:
        try:
            return decoder.decode(repaired)
        except (ValueError, RecursionError) as error:
            fault = error
    text = repaired.strip()
    if text.startswith("<"):
        raise ProtocolError(_page(text), retryable=False)
    raise ProtocolError(_complaint(text, fault), code="retry_once")


def _repaired(body: bytes | str) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    text = text.removeprefix("\ufeff").encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return re.sub(_ESCAPES, lambda found: "\\ufffd" if found[2] else found[0], text)


def _complaint(text: str, fault: Exception) -> str:
    if not text:
        return "The reply is empty, where JSON was expected."
    reason = "it is nested too deeply" if isinstance(fault, RecursionError) else str(fault)[:200]
    return f"The reply is not the JSON expected ({reason}): {_shown(text)!r}"


def _page(text: str) -> str:
    return (
        f"The reply is a web page, not JSON: {_shown(text)!r}. Is a proxy or login page in between, or api_base wrong?"
    )


def _shown(text: str) -> str:
    return text[:SHOWN] + ("..." if len(text) > SHOWN else "")
