"""What a journal holds: one tagged Struct a line."""

from typing import Any

import msgspec

from dspex.core.messages import LMResponse
from dspex.core.usage import Budget, Usage


class Record(msgspec.Struct, frozen=True, tag_field="t", omit_defaults=True, gc=False):
    """Base of what a journal holds: data without cycles, so the collector need not look at it."""


class Run(Record, frozen=True, tag="run"):
    """The first record: what is run. `identity` must be equal for the run to go on; budget and versions need not be.

    `at` is wall-clock time, `fork` the folder of the run whose finished steps it took over, `script` the
    file of the program that began it.
    """

    format: int
    id: str
    identity: dict[str, Any]
    budget: Budget | None = None
    versions: dict[str, str] = {}
    waves: str = ""
    at: float = 0.0
    estimate: dict[str, Any] = {}
    fork: str = ""
    script: str = ""


class Sent(Record, frozen=True, tag="sent"):
    """A call is about to leave; without its `Call` it was lost in flight."""

    key: str


class Call(Record, frozen=True, tag="call"):
    """A call ended, with its reply or with the class of its error; what is no LM's has `data`, and `usage` beside it."""

    key: str
    step: str
    reply: LMResponse | None = None
    seconds: float = 0.0
    attempts: int = 1
    is_cached: bool = False
    error: str = ""
    data: bytes | None = None
    usage: Usage | None = None


class Step(Record, frozen=True, tag="step"):
    """A step of the algorithm ended; `value` is decoded by whoever knows the kind."""

    key: str
    kind: str
    value: msgspec.Raw


class Training(Record, frozen=True, tag="train"):
    """A training that a step has begun, by the provider's id; then how it ended, and what it cost in dollars."""

    key: str
    job: str
    state: str = ""
    usd: float = 0.0


class Batched(Record, frozen=True, tag="batch"):
    """Calls that went out together, by their ids, and the provider's id of what they are in."""

    batch: str
    ids: tuple[str, ...]


class Mark(Record, frozen=True, tag="clock"):
    """A time in seconds that a replay must see again: what `ctx.now()` gave at a place, or a "wall" that was reached."""

    key: str
    value: float


class Beat(Record, frozen=True, tag="beat"):
    """How far the run is, once a second at most while something happens: what another process can see of it.

    `best`, `low` and `high` are mean scores over `n` examples; calls, tokens and dollars are those its budget was charged.
    """

    status: str
    seconds: float = 0.0
    phase: str = ""
    done: int = 0
    total: int | None = None
    best: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    calls: int = 0
    tokens: int = 0
    usd: float = 0.0


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
DECODER = msgspec.json.Decoder(
    Run | Sent | Call | Step | Training | Batched | Mark | Beat | Considered | Stopped | End | Blob
)
