"""A server on the loopback that answers by a script, and lies, stalls and breaks off as told."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import msgspec

from dspex.testing.faults import FAULTS, LAST, SSE, Step, StreamForm, chunked, head, stream_faults, whole


class Seen(msgspec.Struct, frozen=True):
    """A request as it arrived; header names are lower case, `connection` counts from 1."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class FaultServer:
    """A context manager; it lives in a thread of its own, so any loop, thread or process may call `url`.

    Each `then...` scripts the answer to one more request, or to `times` of them (None: all further ones), with Step's
    fields as keywords. Where the script is over the answer is 418. `requests` holds what came, `sent` counts bytes,
    `closed` connections that clients ended; `wait` blocks until these say what a test waits for.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Seen] = []
        self.connections = self.closed = self.sent = self.in_flight = 0
        self.url = ""
        self._script: deque[Step] = deque()
        self._always = Step(chunks=(head(418, {"Content-Length": "0"}),))
        self._tls = tls
        self._changed = threading.Condition()
        self._listening = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault server", daemon=True)

    def then(
        self,
        status: int = 200,
        body: bytes | str = b"",
        *,
        json: Any = None,
        headers: Mapping[str, str] = {},
        **how: Any,
    ) -> Self:
        """A whole reply; a header given replaces the one of that name that it would have."""
        content = body.encode() if isinstance(body, str) else body if json is None else msgspec.json.encode(json)
        kind = "text/plain" if json is None else "application/json"
        fields = {"Content-Type": kind, "Content-Length": str(len(content)), **headers}
        return self.then_raw(head(status, fields) + content, **{"end": "keep", **how})

    def then_events(self, events: Sequence[Any], *, done: bool = True, **how: Any) -> Self:
        """An event stream, one chunk an event: text as it stands, anything else as JSON data."""
        texts = [
            event if isinstance(event, str) else f"data: {msgspec.json.encode(event).decode()}\n\n" for event in events
        ]
        texts += ["data: [DONE]\n\n"] if done else []
        fields = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        chunks = [b"%x\r\n%s\r\n" % (len(text.encode()), text.encode()) for text in texts]
        last = [] if how.get("end") else [b"0\r\n\r\n"]
        return self.then_raw(head(200, fields), *chunks, *last, **{"end": "keep", **how})

    def then_raw(self, *chunks: bytes, times: int | None = 1, **how: Any) -> Self:
        """Bytes as they are, and the connection's end."""
        return self._then(Step(chunks=chunks, **{"end": "close", **how}), times)

    def then_made(self, make: Callable[[Any], Any], *, times: int | None = 1, **how: Any) -> Self:
        """The JSON that `make` gives for the request's own, decoded; 400 where it raises LookupError, TypeError or ValueError."""
        return self._then(Step(made=lambda body: _made(make, body), **{"end": "keep", **how}), times)

    def _then(self, step: Step, times: int | None) -> Self:
        if times is None:
            self._always = step
        self._script.extend([step] * (times or 0))
        return self

    def then_stream(self, stream: bytes, form: StreamForm = SSE, **how: Any) -> Self:
        """A stream of that form, one chunk an event."""
        return self.then_raw(form.head, *map(chunked, form.events(stream)), LAST, **{"end": "keep", **how})

    def then_fault(self, name: str, answer: bytes | str, *, times: int | None = 1, form: StreamForm = SSE) -> Self:
        """The fault of that name in FAULTS, made of a good answer: a reply's JSON, or a stream of that form."""
        fault = stream_faults(form)[name] if FAULTS[name].streams else FAULTS[name]
        return self._then(fault.step(answer.encode() if isinstance(answer, str) else answer), times)

    def wait(self, until: Callable[[Self], bool], timeout: float = 5.0) -> bool:
        """Block until `until(server)` holds; False if it never did. In async tests: `await asyncio.to_thread(...)`."""
        with self._changed:
            return self._changed.wait_for(lambda: until(self), timeout)

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    # On its own thread

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stopped, self._gathered = asyncio.Event(), asyncio.Condition()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self._tls, backlog=2048)
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._listening.set()
        await self._stopped.wait()
        server.close()
        for _ in range(3):  # until then, who was accepted last has a conversation, which the loop's end ends
            await asyncio.sleep(0)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._note("connections")
        number = self.connections
        try:
            # Whatever a client does to its connection, and the server's end, ends this conversation and nothing else.
            with contextlib.suppress(OSError, EOFError, ValueError, asyncio.CancelledError):
                while await self._answered(await _request(reader, number), reader, writer):
                    pass
        finally:
            if reader.at_eof() or writer.is_closing():
                self._note("closed")
            writer.close()

    async def _answered(self, request: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        step = self._script.popleft() if self._script else self._always
        self.requests.append(request)
        self._note("in_flight")
        try:
            async with self._gathered:
                self._gathered.notify_all()
                await self._gathered.wait_for(lambda: len(self.requests) >= step.gather)
            await self._send(step, request, writer)
        finally:
            self._note("in_flight", -1)
        if step.end == "hang":
            await reader.read()
        if step.end == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return step.end == "keep"

    async def _send(self, step: Step, request: Seen, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(step.delay)
        for chunk in step.chunks if step.made is None else (*step.chunks, step.made(request.body)):
            writer.write(chunk)
            await writer.drain()
            self._note("sent", len(chunk))
            if step.every:
                await asyncio.sleep(step.every)
        while step.endless:
            writer.write(step.endless)
            await writer.drain()
            self._note("sent", len(step.endless))

    def _note(self, figure: str, more: int = 1) -> None:
        with self._changed:
            setattr(self, figure, getattr(self, figure) + more)
            self._changed.notify_all()


def _made(make: Callable[[Any], Any], body: bytes) -> bytes:
    try:
        return whole(msgspec.json.encode(make(msgspec.json.decode(body))))
    except (LookupError, TypeError, ValueError) as error:
        return whole(msgspec.json.encode({"error": {"message": f"{type(error).__name__}: {error}"}}), 400)


async def _request(reader: asyncio.StreamReader, connection: int) -> Seen:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    return Seen(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))), connection)
