"""What a journal holds: one tagged Struct a line."""

from typing import Any

import msgspec

from dspex.core.messages import LMResponse
from dspex.core.usage import Budget


class Record(msgspec.Struct, frozen=True, tag_field="t", omit_defaults=True):
    """Base of what a journal holds."""


class Run(Record, frozen=True, tag="run"):
    """The first record: what is run. `identity` must be equal for the run to go on; budget and versions need not be."""

    format: int
    id: str
    identity: dict[str, Any]
    budget: Budget | None = None
    versions: dict[str, str] = {}
    waves: str = ""


class Sent(Record, frozen=True, tag="sent"):
    """An LM call is about to leave; without its `Call` it was lost in flight."""

    key: str


class Call(Record, frozen=True, tag="call"):
    """An LM call ended, with its reply or with the class of its error."""

    key: str
    step: str
    reply: LMResponse | None = None
    seconds: float = 0.0
    attempts: int = 1
    is_cached: bool = False
    error: str = ""


class Step(Record, frozen=True, tag="step"):
    """A step of the algorithm ended; `value` is decoded by whoever knows the kind."""

    key: str
    kind: str
    value: msgspec.Raw


class Mark(Record, frozen=True, tag="clock"):
    """A time that a replay must see again: "elapsed" seconds, or a "wall" in seconds that was reached."""

    key: str
    value: float


class Considered(Record, frozen=True, tag="pool"):
    """A candidate entered the pool; `state` is the Candidate."""

    key: str
    label: str
    state: msgspec.Raw
    parents: tuple[str, ...] = ()
    meta: dict[str, Any] = {}


class Stopped(Record, frozen=True, tag="stop"):
    """The algorithm ended: done, budget, cancelled or error."""

    why: str
    detail: str = ""


class End(Record, frozen=True, tag="end"):
    """The run ended: key of the program returned, and the evidence."""

    winner: str
    evidence: dict[str, Any]


class Blob(Record, frozen=True, tag="blob"):
    """A record that is kept as a file of its own, named by its digest."""

    digest: str


ENCODER = msgspec.json.Encoder()
DECODER = msgspec.json.Decoder(Run | Sent | Call | Step | Mark | Considered | Stopped | End | Blob)
