"""What a compile may begin with: programs that are known already, and runs that somebody has paid for."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dspex.core.candidate import Rollout, TraceStep
from dspex.core.errors import ConfigurationError
from dspex.core.example import Example
from dspex.core.identity import digest
from dspex.engine.artifact import extracted
from dspex.engine.attached import AttachedJob
from dspex.engine.groups import Groups
from dspex.engine.traces import TraceLine, read_traces
from dspex.program.module import Module
from dspex.runtime.journal import FILE


class Warm(msgspec.Struct, frozen=True):
    """Programs with their labels, runs to learn from, and what is to be said of them."""

    programs: tuple[tuple[str, Module], ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """By content: another file of the same name is another run."""
        return digest([[extracted(program).key for _, program in self.programs], self.rollouts])


def warmed(given: Any, student: Module, apart: "Apart", train: Sequence[Example], keys: Mapping[int, str]) -> Warm:
    """What `warm_start` names: saved programs, run folders, files of traces, or a list of them.

    Runs that are of `apart` are left out: an answer is not to be shown to who is judged by it.
    Raises ConfigurationError, ProgramFileError, JournalError or DatasetError for what does not fit the student.
    """
    programs = [(f"warm start {place}", one) for place, one in enumerate(known_programs(given, student), 1)]
    lines = [line for one in _listed(given) if _is_traces(one) for line in read_traces(one)]
    if not lines:
        return Warm(tuple(programs))
    rollouts, notes = _rollouts(lines, student, apart, {_of(one): keys[id(one)] for one in train})
    return Warm(tuple(programs), rollouts, notes)


class Apart:
    """Examples that nothing may be learnt of, and the traced runs that are of them: by their inputs, or their group."""

    def __init__(self, examples: Sequence[Example], groups: Groups) -> None:
        self._inputs = {_of(one) for one in examples}
        self._groups = groups
        self._held = groups.among(examples)
        self.or_groups = ", or their groups," if self._held else ""

    def __contains__(self, line: TraceLine) -> bool:
        group = self._groups.of_run(line.inputs, line.outputs)
        return digest(line.inputs) in self._inputs or (group is not None and group in self._held)


def known_programs(given: Any, student: Module) -> list[Module]:
    """The programs that `warm_start` names. Raises as `warmed`."""
    return [_program(one, student) for one in _listed(given) if not _is_traces(one)]


def _listed(given: Any) -> list[Any]:
    every = given if isinstance(given, list | tuple) else [] if given is None else [given]
    return [one if isinstance(one, Module) else Path(one).expanduser() for one in every]


def _is_traces(given: Any) -> bool:
    return not isinstance(given, Module) and given.suffix == ".jsonl"


def _program(given: Any, student: Module) -> Module:
    """A program with the student's predictors. Raises as `warmed`."""
    if isinstance(given, Module):
        program = given
    elif (given / FILE).is_file():
        job = AttachedJob(given)
        if job.status == "running":
            raise ConfigurationError(f"warm_start={str(given)!r}: that run has not ended; wait for it, or stop it.")
        program = job.result(student)
    else:
        program = student.deepcopy()
        program.load(given)
    theirs, ours = _fields(program), _fields(student)
    if theirs.keys() != ours.keys():
        raise ConfigurationError(f"warm_start: {program!r:.80} has other predictors than the student.")
    for path, fields in ours.items():
        if theirs[path].keys() != fields.keys():
            raise ConfigurationError(
                f"warm_start: the predictor {path!r} of {program!r:.80} has the fields {', '.join(theirs[path])}, the "
                f"student's has {', '.join(fields)}."
            )
    return program


def _fields(program: Module) -> dict[str, Mapping[str, Any]]:
    return {path: predictor.signature.fields for path, predictor in program.named_predictors()}


def _rollouts(
    lines: Sequence[TraceLine], student: Module, apart: "Apart", train: Mapping[str, str]
) -> tuple[tuple[Rollout, ...], tuple[str, ...]]:
    """Runs with a score as runs of a teacher; an equal training example gives its key."""
    predictors = dict(student.named_predictors())
    found: dict[str, Rollout] = {}
    seen = 0
    for line in lines:
        told = digest(line.inputs)
        if line in apart:
            seen += 1
            continue
        steps = tuple(step for step in _steps(line, predictors) if _fits(step, predictors))
        if steps and line.score is not None:
            key = train.get(told, told)
            found.setdefault(
                key, Rollout(key, "", line.score, outputs=line.outputs, feedback=line.feedback, trace=steps)
            )
    if not found:
        raise ConfigurationError(
            f"warm_start: none of {len(lines)} runs can be learned from; one needs a score, and each field of a predictor of "
            f"the student ({', '.join(predictors)})."
        )
    notes = [f"{len(found)} of {len(lines)} traced runs were there to learn from"]
    notes += [f"{seen} were left out, as their inputs{apart.or_groups} are in the valset or held"] if seen else []
    return tuple(found.values()), tuple(notes)


def _steps(line: TraceLine, predictors: Mapping[str, Any]) -> Iterable[TraceStep]:
    if line.trace or len(predictors) > 1:
        return line.trace
    return [TraceStep(path, line.inputs, line.outputs) for path in predictors]


def _fits(step: TraceStep, predictors: Mapping[str, Any]) -> bool:
    """Whether it is a whole call of one of the student's predictors."""
    if step.predictor not in predictors:
        return False
    compiled = predictors[step.predictor].signature.compiled
    sides = ((compiled.inputs, step.inputs), (compiled.outputs, step.outputs))
    return all(field.name in given for fields, given in sides for field in fields if field.required)


def _of(example: Example) -> str:
    return digest(example.inputs().toDict())
