"""What the parts of a message hold, as more than one wire wants it."""

from typing import Any, NamedTuple

from dspex.core.errors import BadRequest, ProtocolError
from dspex.core.messages import ToolCall
from dspex.plugin.decoding import decode_json

SHOWN = 40


class DataUrl(NamedTuple):
    """What a data URL holds: its media type, empty for none, and its base64."""

    kind: str
    data: str


def data_url(url: str) -> DataUrl | None:
    """What is in a data URL; None for any other address. Raises BadRequest for one that is no base64."""
    if not url.startswith("data:"):
        return None
    head, _, data = url.removeprefix("data:").partition(",")
    kind, _, encoding = head.partition(";")
    if not encoding.endswith("base64"):
        raise BadRequest(f"A data URL is sent as base64 only; this one begins with {url[:SHOWN]!r}.")
    return DataUrl(kind, data)


def call_arguments(call: ToolCall) -> dict[str, Any]:
    """A call's arguments, decoded. Raises BadRequest for what is no JSON object."""
    try:
        return decode_json(call.arguments or "{}", dict[str, Any])
    except ProtocolError as error:
        raise BadRequest(
            f"The call of {call.name!r} has arguments that are no JSON object, and cannot be sent back: "
            f"{call.arguments[:100]!r}."
        ) from error
