"""Runs of a program as lines of JSON: written by who runs it, read by who improves it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.core.candidate import TraceStep
from dspex.core.errors import DatasetError
from dspex.core.identity import plain
from dspex.engine.trace_data import FailedPrediction, TraceData
from dspex.program.module import Module
from dspex.program.saving import write_atomically


class TraceLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run: what the program was given and gave, how good that was, and what each predictor was given and made.

    `score` None: nobody has judged it. Without a `trace` it is a run of a program of one predictor.
    """

    inputs: dict[str, Any]
    outputs: dict[str, Any] = {}
    score: float | None = None
    feedback: str | None = None
    trace: tuple[TraceStep, ...] = ()


def write_traces(path: str | Path, program: Module, data: Sequence[TraceData]) -> int:
    """Write what `bootstrap_trace_data` gave as lines of JSON, and how many; the old file, if any, is replaced.

    Fields that `configure(redact=)` names are left out, keys that this App holds are hidden, runs that failed are not written.
    Raises ProgramFileError where it cannot be written, or a value has no form in JSON.
    """
    paths = {id(predictor): name for name, predictor in program.named_predictors()}
    lines = [_line(one, paths) for one in data if not isinstance(one["prediction"], FailedPrediction)]
    write_atomically(path, b"".join(_written(line) + b"\n" for line in lines))
    return len(lines)


def read_traces(path: str | Path) -> list[TraceLine]:
    """The runs of a file, without the fields that `configure(redact=)` names. Raises DatasetError naming file and line."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.", path=str(path)) from error
    return list(_read(str(path), content.splitlines()))


def _read(path: str, lines: Iterable[bytes]) -> Iterator[TraceLine]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _clean(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DatasetError(
                f"{path}, line {number}: no run of a program: {error}.", path=path, line=number
            ) from error


def _line(data: TraceData, paths: Mapping[int, str]) -> TraceLine:
    steps = tuple(
        TraceStep(paths[id(predictor)], plain(dict(inputs)), plain(dict(made.items())))
        for predictor, inputs, made in data["trace"]
        if id(predictor) in paths
    )
    inputs, outputs = data["example"].inputs(), data["prediction"]
    return _clean(TraceLine(plain(inputs.toDict()), plain(dict(outputs.items())), data.get("score"), None, steps))


def _written(line: TraceLine) -> bytes:
    return msgspec.json.encode(line)


def _clean(line: TraceLine) -> TraceLine:
    """Without redacted fields and keys."""
    names = frozenset(current_app().settings.redact)
    steps = [TraceStep(one.predictor, _kept(one.inputs, names), _kept(one.outputs, names)) for one in line.trace]
    feedback = None if line.feedback is None else current_app().redact(line.feedback)
    return TraceLine(_kept(line.inputs, names), _kept(line.outputs, names), line.score, feedback, tuple(steps))


def _kept(fields: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: _hidden(value) for name, value in fields.items() if name not in names}


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return current_app().redact(value)
    if isinstance(value, Mapping):
        return {name: _hidden(one) for name, one in value.items()}
    return [_hidden(one) for one in value] if isinstance(value, list | tuple) else value


_decoder = msgspec.json.Decoder(TraceLine)
