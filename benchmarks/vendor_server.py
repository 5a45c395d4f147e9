"""A server for measuring that speaks the wires of several vendors: one answer a path, at once."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TEXT = b'"[[ ## answer ## ]]\\nParis\\n\\n[[ ## completed ## ]]"'
CHAT = (
    b'{"id":"m","object":"chat.completion","model":"mock","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":%b}}],"usage":{"prompt_tokens":100,"completion_tokens":10}}' % TEXT
)
# By the end of the path, the most special first.
ANSWERS = {
    b"/chat/completions": CHAT,
    b"/completions": b'{"id":"m","choices":[{"index":0,"text":%b,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":100,"completion_tokens":10}}' % TEXT,
    b"/responses": b'{"id":"m","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":%b}]}],'
    b'"usage":{"input_tokens":100,"output_tokens":10}}' % TEXT,
    b"/messages": b'{"id":"m","content":[{"type":"text","text":%b}],"stop_reason":"end_turn",'
    b'"usage":{"input_tokens":100,"output_tokens":10}}' % TEXT,
    b":generateContent": b'{"candidates":[{"content":{"role":"model","parts":[{"text":%b}]},"finishReason":"STOP"}],'
    b'"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":10}}' % TEXT,
    b"/api/chat": b'{"model":"mock","message":{"role":"assistant","content":%b},"done":true,"done_reason":"stop",'
    b'"prompt_eval_count":100,"eval_count":10}' % TEXT,
    b"/converse": b'{"output":{"message":{"role":"assistant","content":[{"text":%b}]}},"stopReason":"end_turn",'
    b'"usage":{"inputTokens":100,"outputTokens":10}}' % TEXT,
}


class Connection(asyncio.Protocol):
    """HTTP/1.1 by hand, so that the server's share of the CPU is small; bodies are counted by Content-Length."""

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            body = next((answer for suffix, answer in ANSWERS.items() if path.endswith(suffix)), b"{}")
            reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            self.transport.write(reply % (len(body), body))  # type: ignore[attr-defined]


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def vendor_server() -> Iterator[str]:
    """Address of a server in a process of its own, which ends with the block."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    asyncio.run(serve())
