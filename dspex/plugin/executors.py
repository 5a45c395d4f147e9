"""What goes to an executor and what comes back: data that JSON carries, so that the other side may be another machine.

Keys, headers and labels are in none of it: a worker finds keys itself, and the metric runs where the evaluation does.
"""

from typing import Any, Literal

import msgspec

from dspex.core.candidate import TraceStep
from dspex.core.messages import LMResponse
from dspex.core.usage import Budget, Usage


class Artifact(msgspec.Struct, frozen=True):
    """A program as `Module.save` writes it; equal keys are equal programs, so a worker needs each but once.

    `allow` are the modules that may be imported to make it again, as for `dspex.load`.
    """

    key: str
    file: str
    allow: tuple[str, ...] = ()


class CallRecord(msgspec.Struct, frozen=True, tag="call", omit_defaults=True):
    """A call of a task: `is_done` False as it leaves, True with its reply, its bytes or the class of its error.

    `key` is that under which a journal keeps it; a task's finished calls may be given to another worker as its `known` ones.
    `paid` is what was paid since the task's last record, by model.
    """

    task: str
    key: str
    is_done: bool = False
    reply: LMResponse | None = None
    data: bytes | None = None
    usage: Usage | None = None
    seconds: float = 0.0
    attempts: int = 1
    is_cached: bool = False
    error: str = ""
    paid: dict[str, Usage] = {}


class Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run of a chunk's program: the inputs of one example, without its labels.

    `key` is the task's own, `owner` that of the step to which its calls belong. `typed` names inputs that are more than JSON data,
    each with what reads it: the path of a predictor that has such a field, or ":Image" and the like. `known` calls are answered and not made again. `lease` is a wall for this run
    alone. `attempt` counts from 1; later ones follow a worker that died, and want one for themselves.
    """

    key: str
    owner: str
    inputs: dict[str, Any]
    typed: dict[str, str] = {}
    known: tuple[CallRecord, ...] = ()
    lease: Budget | None = None
    attempt: int = 1


class ChunkSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """The settings that tasks run under: `lm` and `adapter` as they are described in `dspex.evaluate.parcels`, the others by
    name. `app` are those that a whole App has: prices and the cache.
    """

    lm: Any = None
    adapter: Any = None
    others: dict[str, Any] = {}
    app: dict[str, Any] = {}


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tasks of one program under the same settings, which are independent of each other; `trace` asks for their traces."""

    program: Artifact
    settings: ChunkSettings
    tasks: tuple[Task, ...]
    trace: bool = False


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as data: `kind` is its class with the module, `family` the class of dspex that it is or is made from.

    `details` are JSON data that belong to it. `is_short` says that the task's lease did not cover another call.
    """

    kind: str
    message: str
    family: str = ""
    traceback: str = ""
    details: dict[str, Any] = {}
    is_short: bool = False


class RolloutRecord(msgspec.Struct, frozen=True, tag="rollout", omit_defaults=True):
    """How a task ended; it is scored where the evaluation runs.

    "lost": whoever had it died, and somebody else may have it. `outputs` are the prediction's fields, or under "" what a program gave that is no
    Prediction; `typed` as a task's. `usage` is that of all its calls, known ones too; `spent` what the lease lost; `paid` as a call's.
    """

    task: str
    state: Literal["done", "failed", "lost"]
    outputs: dict[str, Any] = {}
    typed: dict[str, str] = {}
    usage: Usage = Usage()
    spent: Budget | None = None
    paid: dict[str, Usage] = {}
    trace: tuple[TraceStep, ...] | None = None
    fault: Fault | None = None


ExecutorRecord = CallRecord | RolloutRecord
