"""Streams that are lines of JSON, an event a line, as Ollama writes them."""

from types import MappingProxyType

from dspex.plugin import ProtocolError, ServerEvent


class Lines:
    """Turns chunks, cut anywhere, into events; what no line end has closed when the stream ends is not one."""

    __slots__ = ("_limit", "_rest", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The lines that `chunk` completes, without those that are empty. Raises ProtocolError for one beyond the limit."""
        first, *others = chunk.split(b"\n")
        self._rest.append(first)
        self._size += len(first)
        self._check(self._size)
        if not others:
            return []
        *lines, last = others
        whole = [b"".join(self._rest), *lines]
        self._rest, self._size = [last], len(last)
        self._check(self._size)
        return [ServerEvent("line", line.decode("utf-8", "replace")) for line in whole if line.strip()]

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise ProtocolError(f"The stream has a line of more than {self._limit} bytes.", retryable=False)


FRAMINGS = MappingProxyType({"application/x-ndjson": Lines, "application/ndjson": Lines})
