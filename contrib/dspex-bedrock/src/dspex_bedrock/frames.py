"""AWS's event streams: frames of headers and payload, each with two checksums, as botocore reads them."""

from types import MappingProxyType

from botocore.eventstream import EventStreamBuffer, EventStreamMessage, ParserError

from dspex.plugin import ProtocolError, ServerEvent

EXCEPTION = "exception:"
_OVERHEAD = 131_072  # the most that the headers of a frame take


class Frames:
    """Turns chunks, cut anywhere, into events named by their type; one of an exception is named `exception:TYPE`."""

    __slots__ = ("_buffer", "_limit", "_waiting")

    def __init__(self, limit: int) -> None:
        self._buffer = EventStreamBuffer()
        self._limit = limit
        self._waiting = 0

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that `chunk` completes. Raises ProtocolError for a broken frame, and for one beyond the limit."""
        self._buffer.add_data(chunk)
        self._waiting += len(chunk)
        found = []
        try:
            for message in self._buffer:
                self._waiting -= message.prelude.total_length
                self._check(len(message.payload))
                found.append(_event(message))
        except ParserError as error:
            raise ProtocolError(f"The event stream is broken: {error}", code="retry_once") from error
        self._check(self._waiting - _OVERHEAD)
        return found

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise ProtocolError(f"The stream has an event of more than {self._limit} bytes.", retryable=False)


def _event(message: EventStreamMessage) -> ServerEvent:
    headers = message.headers
    data = message.payload.decode("utf-8", "replace")
    match headers.get(":message-type"):
        case "exception":
            return ServerEvent(f"{EXCEPTION}{headers.get(':exception-type', 'unknown')}", data)
        case "error":
            return ServerEvent(
                f"{EXCEPTION}{headers.get(':error-code', 'unknown')}", headers.get(":error-message") or data
            )
    return ServerEvent(str(headers.get(":event-type", "")), data)


FRAMINGS = MappingProxyType({"application/vnd.amazon.eventstream": Frames})
