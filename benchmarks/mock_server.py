"""A model's server for measuring: answers chat completions at once or after a delay, whole or in 200 pieces."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BODY = (
    b'{"id":"m","object":"chat.completion","model":"mock","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"[[ ## answer ## ]]\\nParis\\n\\n[[ ## completed ## ]]"}}],'
    b'"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}}'
)
PIECES = 200
# What stands around the words of a streamed reply, by the model's name.
FORMS = {
    b"mock": (b"[[ ## answer ## ]]\\n", b"\\n\\n[[ ## completed ## ]]"),
    b"mock-json": (b'{\\"answer\\": \\"', b'\\"}'),
    b"mock-xml": (b"<answer>\\n", b"\\n</answer>"),
    b"mock-plain": (b"Answer:", b" "),
}
EVENT = b'data: {"id":"m","object":"chat.completion.chunk","model":"mock","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
LAST_EVENTS = (
    b'data: {"id":"m","model":"mock","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":100,"completion_tokens":200,"total_tokens":300}}\n\ndata: [DONE]\n\n'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + str(len(BODY)).encode() + b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """HTTP/1.1 by hand, so that the server's share of the CPU is small; bodies are counted by Content-Length."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            later = asyncio.get_running_loop().call_later
            if b'"stream":true' in body:
                later(self.delay, self.stream, body.split(b'"model":"', 1)[1].split(b'"', 1)[0])
            else:
                later(self.delay, self.answer)

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(HEAD + BODY)  # type: ignore[attr-defined]

    def stream(self, model: bytes) -> None:
        """A reply in pieces, 8 of them in one packet."""
        before, after = FORMS[model]
        texts = [before, *(b" word" for _ in range(PIECES)), after]
        events = [EVENT % text for text in texts] + [LAST_EVENTS]
        packets = [b"".join(events[at : at + 8]) for at in range(0, len(events), 8)]
        self.packets = iter(
            [STREAM_HEAD, *(b"%x\r\n%b\r\n" % (len(packet), packet) for packet in packets), b"0\r\n\r\n"]
        )
        self.send_next()

    def send_next(self) -> None:
        packet = next(self.packets, None)
        if packet is not None and not self.transport.is_closing():
            self.transport.write(packet)  # type: ignore[attr-defined]
            asyncio.get_running_loop().call_soon(self.send_next)


async def serve(delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(delay), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def mock_server(delay: float = 0.0) -> Iterator[str]:
    """Base URL of a server in a process of its own, which ends with the block."""
    process = subprocess.Popen([sys.executable, __file__, str(delay)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
