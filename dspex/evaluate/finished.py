"""The run folder of an evaluation: a finished example is never run again, also after a kill.

It is a journal (`dspex.runtime.journal`): a `run` record that says what was evaluated, then a step for each example that
was scored. Examples that failed are not kept, so that the same call tries them once more.
"""

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec

from dspex.app.app import current_app, default_app
from dspex.core.errors import EvaluationError, JournalError
from dspex.core.example import Example, Prediction
from dspex.core.identity import canonical, digest, plain
from dspex.core.usage import NOTHING, Usage
from dspex.core.versions import kernel_version
from dspex.evaluate.running import Row
from dspex.program.fingerprint import example_key, fingerprint
from dspex.program.module import Module
from dspex.runtime.journal import FORMAT, Journal
from dspex.runtime.records import Run, Step

_encode = msgspec.json.Encoder().encode


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row as it is written; `fields` is the prediction's, or `value` what a program of another kind returned."""

    index: int
    example: str
    score: float
    fields: dict[str, Any] | None = None
    value: Any = None
    feedback: str | None = None
    seconds: float = 0.0
    scores: dict[str, float] | None = None
    usage: Usage = NOTHING
    judge_usage: Usage = NOTHING


class Finished:
    """The open run folder. Raises JournalError if it belongs to another evaluation, process or format."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self._journal = Journal(folder)
        default_app.tell_of_forks(self._journal)
        try:
            self._rows = _read(self._journal, identity)
        except BaseException:
            self._journal.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._journal.close()

    def row(self, index: int, example: Example) -> Row | None:
        """The example's row from before. Raises JournalError if another example stood in its place."""
        kept = self._rows.get(index)
        if kept is None:
            return None
        if kept.example != example_key(example):
            raise JournalError(
                f"The run folder {self._journal.folder} belongs to another devset: its example {index} was not "
                f"{example!r:.120}. Choose another run_dir."
            )
        prediction = kept.value if kept.fields is None else Prediction(kept.fields)
        return Row(
            index, example, prediction, kept.score, feedback=kept.feedback, seconds=kept.seconds, scores=kept.scores,
            usage=kept.usage, judge_usage=kept.judge_usage,
        )  # fmt: skip

    def keep(self, row: Row) -> None:
        """Write a row that was scored. Raises EvaluationError if its prediction has no form in JSON."""
        if not row.ok:
            return
        made = row.prediction
        try:
            fields, value = (plain(made.toDict()), None) if isinstance(made, Example) else (None, plain(made))
            kept = Kept(
                row.index, example_key(row.example), row.score, fields, value, row.feedback, row.seconds,
                dict(row.scores) if row.scores else None, row.usage, row.judge_usage,
            )  # fmt: skip
            data = _encode(kept)
        except (TypeError, ValueError) as error:
            raise EvaluationError(
                f"run_dir cannot keep example {row.index}: {error}. Return a Prediction of JSON data, or leave run_dir out."
            ) from error
        self._journal.append(Step(f"{row.index}", "row", msgspec.Raw(data)))


def opening(
    folder: str | Path, program: Any, metrics: Mapping[str, Any], devset: Any, judge_lm: Any = None
) -> Callable[[], Finished]:
    """What opens the folder for this evaluation; to be called in a thread, since it reads and locks files."""
    asked = [_models(program, None), *(_models(metric, judge_lm) for metric in metrics.values())]
    identity = {
        "program": digest([fingerprint(program), fingerprint(getattr(type(program), "acall", None))]),
        "language model": digest(asked),
        "metric": {name: digest(fingerprint(metric)) for name, metric in metrics.items()},
        "devset": digest(list(map(example_key, devset))) if isinstance(devset, list | tuple) else "read as it came",
    }
    return partial(Finished, Path(folder).expanduser().absolute(), identity)


def _models(program: Any, lm: Any) -> list[Any]:
    """Identity of the models that a program or a metric asks: its own, else `lm`, else the settings'."""
    settings = current_app().settings
    parts = program.predictors() if isinstance(program, Module) else ()
    lms = [part.lm or lm or settings.lm for part in parts] or [lm or settings.lm]
    return [[lm and plain(lm.identity) for lm in lms], fingerprint(settings.adapter)]


def _read(journal: Journal, identity: dict[str, Any]) -> dict[int, Kept]:
    if not journal.records:
        journal.append(Run(FORMAT, uuid.uuid4().hex, identity, versions={"dspex": kernel_version()}))
        return {}
    first, *rest = journal.records
    before = first.identity if isinstance(first, Run) else {}
    differs = [part for part in identity if canonical(before.get(part)) != canonical(identity[part])]
    if differs:
        raise JournalError(
            f"The run folder {journal.folder} belongs to another evaluation: another {' and '.join(differs)}. Choose another "
            "run_dir, or give what was given before."
        )
    kept = [
        msgspec.json.decode(step.value, type=Kept) for step in rest if isinstance(step, Step) and step.kind == "row"
    ]
    return {row.index: row for row in kept}
