"""A server that lies by script, and aimock, which speaks Bedrock's wire."""

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dspex
from dspex.testing import FaultServer
from dspex.testing.fixtures import a_clean_start, ask, mock, quick, server, stream

__all__ = ["a_clean_start", "ask", "mock", "quick", "server", "stream"]  # for pytest

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, region or address of the machine's user or of the machine itself."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "BEDROCK_"))]:
        monkeypatch.delenv(name)
    # No look at the user's own configuration, and none for a role of the machine, which would ask over the network.
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def lm(server: FaultServer) -> Callable[..., dspex.LM]:
    """Makes a model behind the scripted server; without a second attempt, so that a test sees the first failure."""

    def lm(model: str = "acme-1", **more: Any) -> dspex.LM:
        return dspex.LM(
            f"bedrock/{model}", **{"api_base": server.url, "api_key": "k", "cache": False, "num_retries": 0, **more}
        )

    return lm


@pytest.fixture
def reply() -> Callable[..., dict[str, Any]]:
    """Makes a reply; a text stands for its block."""

    def reply(*blocks: Any, reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
        content = [{"text": block} if isinstance(block, str) else block for block in blocks]
        return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": reason, **more}

    return reply


def frame(kind: str, payload: Any, **headers: str) -> bytes:
    """A frame as AWS writes it."""
    named = {":event-type": kind, ":content-type": "application/json", ":message-type": "event", **headers}
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
        for name, value in named.items()
    )
    prelude = (16 + len(head) + len(data)).to_bytes(4, "big") + len(head).to_bytes(4, "big")
    start = prelude + zlib.crc32(prelude).to_bytes(4, "big") + head + data
    return start + zlib.crc32(start).to_bytes(4, "big")


@pytest.fixture
def frames(server: FaultServer) -> Callable[..., FaultServer]:
    """Scripts a stream of frames: pairs of an event's type and its payload, or bytes."""

    def frames(*given: Any, **how: Any) -> FaultServer:
        data = [one if isinstance(one, bytes) else frame(*one) for one in given]
        chunks = [b"%x\r\n%s\r\n" % (len(one), one) for one in data]
        end = [] if how.get("end") else [b"0\r\n\r\n"]
        return server.then_raw(HEAD, *chunks, *end, **{"end": "keep", **how})

    frames.frame = frame
    return frames
