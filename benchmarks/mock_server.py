"""A model's server for measuring: answers chat completions at once or after a delay, and counts them."""

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
            self.buffer = self.buffer[end + 4 + length :]
            asyncio.get_running_loop().call_later(self.delay, self.answer)

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(HEAD + BODY)  # type: ignore[attr-defined]


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
