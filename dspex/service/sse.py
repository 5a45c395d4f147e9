"""Server-sent events out of bytes, as the HTML standard has them."""

from dspex.core.errors import ProtocolError
from dspex.core.wire import ServerEvent

EVENTS = "text/event-stream"
BOM = b"\xef\xbb\xbf"


class EventReader:
    """Turns chunks, cut anywhere, into events; what no empty line has ended when the stream ends is not an event.

    `feed` raises ProtocolError for a line or an event of more than `limit` bytes.
    """

    __slots__ = ("_after_cr", "_begun", "_data", "_event", "_limit", "_rest", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""
        self._data: list[bytes] = []
        self._event = b""
        self._size = 0
        self._begun = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that `chunk` completes."""
        if self._after_cr or b"\r" in chunk:
            chunk = self._in_line_feeds(chunk)
        lines = (self._rest + chunk if self._rest else chunk).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > self._limit:
            raise self._too_long("line")
        if lines and not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(BOM)
        found = []
        for line in lines:
            if not line:
                if self._data:
                    found.append(self._complete())
                self._event = b""
            elif line.startswith(b"data:"):
                self._add(line[6:] if line[5:6] == b" " else line[5:])
            else:
                self._other(line)
        return found

    def _in_line_feeds(self, chunk: bytes) -> bytes:
        """A line may end by CR LF, LF or CR; one that ends by CR is delivered without a look at what follows."""
        rest = chunk.removeprefix(b"\n") if self._after_cr else chunk
        self._after_cr = chunk.endswith(b"\r")
        return rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _other(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"event":
            self._event = value.removeprefix(b" ")
        elif name == b"data":
            self._add(b"")

    def _add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            raise self._too_long("event")
        self._data.append(data)

    def _complete(self) -> ServerEvent:
        data = self._data
        event = self._event.decode("utf-8", "replace") or "message" if self._event else "message"
        text = data[0] if len(data) == 1 else b"\n".join(data)  # nearly always it is one
        made = ServerEvent(event, text.decode("utf-8", "replace"))
        data.clear()
        self._size = 0
        return made

    def _too_long(self, what: str) -> ProtocolError:
        return ProtocolError(f"The stream has a {what} of more than {self._limit} bytes.", retryable=False)
