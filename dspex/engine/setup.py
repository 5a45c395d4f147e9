"""What a run is made from, and what an algorithm may know of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.core.candidate import Candidate, Rollout, Shape
from dspex.core.endpoint import Capabilities
from dspex.core.example import Example
from dspex.core.identity import digest
from dspex.engine.artifact import Programs, fingerprint
from dspex.engine.warm import Warm
from dspex.program.module import Module


class MetricInfo(msgspec.Struct, frozen=True):
    """What an algorithm may know of the metric: the least score that passes, None for any above 0."""

    threshold: float | None = None

    def passes(self, rollout: Rollout) -> bool:
        """Whether a run is good enough to be a demonstration."""
        least = self.threshold
        return rollout.ok and (rollout.score > 0 if least is None else rollout.score >= least)


class Role(msgspec.Struct, frozen=True):
    """How programs run for one purpose: settings laid over the caller's, and what tells this from other roles."""

    overlay: Mapping[str, Any]
    identity: str


class Setup(msgspec.Struct, frozen=True):
    """All that a context is made from."""

    optimizer: Any
    arguments: Mapping[str, Any]
    student: Candidate
    teachers: tuple[Candidate, ...]
    programs: Programs
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    held: tuple[Example, ...]
    keys: Mapping[int, str]
    metric: Any
    metric_identity: str
    roles: Mapping[str, Role]
    capabilities: Mapping[str, Capabilities]
    shape: Shape
    seed: int
    concurrency: int
    max_errors: int | None
    by_candidate: bool  # the order of waves: candidate by candidate, else example by example
    controls: bool = False
    warm: Warm = Warm()


def roles_of(
    optimizer: Any, student: Module, teachers: Sequence[Module]
) -> tuple[dict[str, Role], dict[str, Capabilities]]:
    """The roles of an optimizer, and what the model of each can do; "evidence" and "control" are as "task"."""
    settings = current_app().settings
    roles, capabilities = {}, {}
    for name, overlay in optimizer.roles().items():
        lm, adapter = overlay.get("lm", settings.lm), overlay.get("adapter", settings.adapter)
        lms = [lm]
        if name in ("task", "teacher"):
            programs = [student] if name == "task" else teachers or [student]
            lms = [part.lm or lm for program in programs for part in program.predictors()]
        roles[name] = Role(overlay, digest([[one and one.identity for one in lms], _told(adapter)]))
        capabilities[name] = lm.capabilities if lm is not None else Capabilities()
    roles["evidence"] = roles["control"] = roles["task"]
    return roles, capabilities


def _told(adapter: Any) -> Any:
    """An adapter's identity: its kind, its version, and what it was made with, a model of its own included."""
    made_with = {name: value for name, value in getattr(adapter, "__dict__", {}).items() if name[0] != "_"}
    return [type(adapter).__name__, getattr(adapter, "version", adapter), fingerprint(made_with)]
