"""What goes through the pipes between a coordinator and a worker: JSON, after its length in four bytes."""

import struct
from typing import BinaryIO

import msgspec

from dspex.plugin import Artifact, Chunk, ExecutorRecord

LENGTH = struct.Struct(">I")


class Setup(msgspec.Struct, frozen=True, tag="setup"):
    """The first frame to a worker: where it finds modules, and how often it says that it lives."""

    path: list[str]
    beat_s: float


class Program(msgspec.Struct, frozen=True, tag="program"):
    """A program that chunks will name by its key."""

    artifact: Artifact


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """No chunk names a program any more that was sent before."""


class Work(msgspec.Struct, frozen=True, tag="work"):
    """A chunk, with no more of its program than the key."""

    number: int
    chunk: Chunk


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Nobody waits for that work."""

    number: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker's first frame."""


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """The worker lives."""


class Told(msgspec.Struct, frozen=True, tag="told"):
    """A record of a piece of work."""

    number: int
    record: ExecutorRecord


class Over(msgspec.Struct, frozen=True, tag="over"):
    """Nothing of that work is under way any more."""

    number: int


ToWorker = Setup | Program | Forget | Work | Cancel
FromWorker = Ready | Beat | Told | Over

encode = msgspec.json.Encoder().encode
to_worker = msgspec.json.Decoder(ToWorker)
from_worker = msgspec.json.Decoder(FromWorker)


def frame(message: ToWorker | FromWorker) -> bytes:
    """A message as it is written."""
    body = encode(message)
    return LENGTH.pack(len(body)) + body


def read(pipe: BinaryIO) -> bytes | None:
    """The body of the next frame, waited for; None at the end of the pipe."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    body = pipe.read(length)
    return body if len(body) == length else None
