"""What a run is made from, and what an algorithm may know of it."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import msgspec

from dspex.app.app import App, current_app
from dspex.app.lm import LM
from dspex.app.settings import checked
from dspex.core.candidate import Candidate, Shape
from dspex.core.endpoint import Capabilities
from dspex.core.errors import ConfigurationError
from dspex.core.example import Example
from dspex.core.identity import digest
from dspex.engine.artifact import Programs, fingerprint
from dspex.engine.groups import ALONE, Groups
from dspex.engine.warm import Warm
from dspex.program.calling import model
from dspex.program.module import Module
from dspex.service.ledger import Charge


class Role(msgspec.Struct, frozen=True):
    """How programs run for one purpose: settings laid over the caller's, and what tells this from other roles."""

    overlay: Mapping[str, Any]
    identity: str

    def over(self, around: Mapping[str, Any], params: Mapping[str, Any] = {}) -> dict[str, Any]:
        """Other settings with its own, and these parameters for the model, laid over them."""
        settings = {**around, **self.overlay}
        if params:
            settings["lm_params"] = {**settings.get("lm_params", {}), **params}
        return settings


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
    sealed: frozenset[str]  # what tells the held examples, and a demo made of one: all that a search is given of them
    shape: Shape
    seed: int
    concurrency: int
    max_errors: int | None
    by_candidate: bool  # the order of waves: candidate by candidate, else example by example
    controls: bool = False
    bounds: Mapping[tuple[str, str], Charge] = {}  # the most a call takes, by ("run" or "ask", role): under a budget
    warm: Warm = Warm()
    groups: Groups = ALONE
    executor: tuple[Any, str] | None = None  # what runs the evaluations, if not this process, and its name


def roles_of(
    optimizer: Any, student: Module, teachers: Sequence[Module]
) -> tuple[dict[str, Role], dict[str, Capabilities]]:
    """The roles of an optimizer, and what the model of each can do; "evidence" and "control" are as "task".

    Raises ConfigurationError for what is no LM, or no setting.
    """
    app = current_app()
    settings = app.settings
    roles, capabilities = {}, {}
    _check_attributes(optimizer)
    for name, overlay in optimizer.roles().items():
        checked(overlay)
        lm, adapter = _checked(overlay.get("lm", settings.lm), app), overlay.get("adapter", settings.adapter)
        lms = [lm]
        if name in ("task", "teacher"):
            programs = [student] if name == "task" else teachers or [student]
            lms = [_checked(part.lm or lm, app) for program in programs for part in program.predictors()]
        roles[name] = Role(overlay, digest([[one and one.identity for one in lms], _told(adapter)]))
        capabilities[name] = lm.capabilities if lm is not None else Capabilities()
    roles["evidence"] = roles["control"] = roles["task"]
    return roles, capabilities


def _check_attributes(optimizer: Any) -> None:
    """Raises ConfigurationError for one that the engine reads, and that cannot be meant."""
    for name in ("metric_threshold", "failure_score"):
        given = getattr(optimizer, name, None)
        if given is not None and not isinstance(given, Real):
            raise ConfigurationError(f"{name}={given!r:.80}: a number.")
    given = getattr(optimizer, "teacher_settings", None)
    if given is not None and not isinstance(given, Mapping):
        raise ConfigurationError(f'teacher_settings={given!r:.80}: settings by name, as {{"lm": lm}}.')


def _checked(lm: Any, app: App) -> LM | None:
    return None if lm is None else model(lm, app)


def _told(adapter: Any) -> Any:
    """An adapter's identity: its kind, its version, and what it was made with, a model of its own included."""
    made_with = {name: value for name, value in getattr(adapter, "__dict__", {}).items() if name[0] != "_"}
    return [type(adapter).__name__, getattr(adapter, "version", adapter), fingerprint(made_with)]
