"""What an evaluation found: the score, each metric's, each slice's, and the rows behind them."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import msgspec

from dspex.core.clock import derived_rng
from dspex.core.errors import EvaluationError
from dspex.core.example import Example, Prediction
from dspex.core.usage import NOTHING, Usage
from dspex.evaluate.running import Row
from dspex.evaluate.statistics import Interval, mean_interval

SliceBy = str | Callable[[Example], Hashable]


class Measure(msgspec.Struct, frozen=True):
    """A mean score of n examples and its interval at 95 %, all in per cent; `failures` of them count as failed."""

    score: float
    interval: Interval
    n: int
    failures: int = 0

    def __str__(self) -> str:
        failed = f", {self.failures} failed" if self.failures else ""
        return f"{self.score:.2f} [{self.interval.low:.1f}, {self.interval.high:.1f}] (n={self.n:,}{failed})"


class EvaluationResult(Prediction):
    """A score in per cent and `results`, (example, prediction, score) in the devset's order; a score with feedback is a
    Prediction of both.

    `rows` has each example's feedback, traceback, seconds, scores by metric and usage too. With several metrics the first
    one's mean is the score.
    """

    __slots__ = ("_names", "_slice_by", "rows")
    rows: Sequence[Row]
    _names: Sequence[str]
    _slice_by: SliceBy | None

    def __init__(
        self, score: float, results: list[Any], rows: Sequence[Row] = (), names: Sequence[str] = (),
        slice_by: SliceBy | None = None,
    ) -> None:  # fmt: skip
        super().__init__(score=score, results=results)
        for name, value in (("rows", rows), ("_names", names), ("_slice_by", slice_by)):
            object.__setattr__(self, name, value)

    @property
    def interval(self) -> Interval:
        """Where the true score lies, in per cent, at 95 %: Wilson's for 0/1 scores, else the bootstrap's."""
        return measured([float(score) for _, _, score in self.results]).interval

    @property
    def metrics(self) -> dict[str, Measure]:
        """Mean and interval of each metric by its name; a failed example has the failure score in all."""
        failures = len(self.failures)
        columns = {name: [_score(row, name) for row in self.rows] for name in self._names}
        return {name: measured(scores, failures) for name, scores in columns.items()}

    @property
    def slices(self) -> dict[Hashable, Measure]:
        """Score and interval of each slice, by `slice_by`; empty without it."""
        return {} if self._slice_by is None else self.sliced(self._slice_by)

    def sliced(self, by: SliceBy) -> dict[Hashable, Measure]:
        """Score and interval of each group of examples: `by` is a field's name, or a function of the example.

        Each interval stands for itself: of twenty slices one will miss its true score. Raises EvaluationError naming an
        example that has no such field.
        """
        groups: dict[Hashable, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(slice_of(by, row.index, row.example), []).append(row)
        return {
            label: measured([row.score for row in rows], sum(not row.ok for row in rows))
            for label, rows in sorted(groups.items(), key=lambda item: str(item[0]))
        }

    @property
    def failures(self) -> list[Row]:
        """Rows whose program or metric raised; they count with the failure score."""
        return [row for row in self.rows if not row.ok]

    @property
    def usage(self) -> Usage:
        """What program and metric paid for, rows that a run folder kept included; a cache hit costs nothing."""
        return self.program_usage + self.judge_usage

    @property
    def program_usage(self) -> Usage:
        """What the program paid for."""
        return sum((row.usage for row in self.rows), NOTHING)

    @property
    def judge_usage(self) -> Usage:
        """What the metric paid for, if it asks a model."""
        return sum((row.judge_usage for row in self.rows), NOTHING)

    def __repr__(self) -> str:
        failed = f", failures={count}" if (count := len(self.failures)) else ""
        return f"EvaluationResult(score={self.score}, results=<list of {len(self.results)} results>{failed})"


def measured(scores: Sequence[float], failures: int = 0) -> Measure:
    """Mean and interval in per cent."""
    low, high = mean_interval(scores, derived_rng("evaluate", "bootstrap"))
    mean = round(100 * sum(scores) / len(scores), 2)
    return Measure(mean, Interval(round(100 * low, 2), round(100 * high, 2)), len(scores), failures)


def slice_of(by: SliceBy, index: int, example: Example) -> Hashable:
    """The slice that an example belongs to. Raises EvaluationError if it cannot be told."""
    try:
        label: Hashable = example[by] if isinstance(by, str) else by(example)
        hash(label)
    except Exception as error:
        raise EvaluationError(
            f"slice_by={by!r} gives no slice for example {index}, {example!r:.120}: {type(error).__name__}: {error}"
        ) from error
    return label


def _score(row: Row, name: str) -> float:
    return row.score if row.scores is None else row.scores[name]


def collected(rows: list[Row], names: Mapping[str, Any], slice_by: SliceBy | None) -> EvaluationResult:
    """The result of all rows, put in the devset's order."""
    rows.sort(key=lambda row: row.index)
    score = round(100 * sum(row.score for row in rows) / len(rows), 2)
    return EvaluationResult(score, pairs(rows), rows, tuple(names), slice_by)


def pairs(rows: Sequence[Row]) -> list[tuple[Example, Any, Any]]:
    """(example, prediction, score) of each row; the score of one with feedback is a Prediction of both, as the metric gave it."""
    return [(row.example, row.prediction, _told(row)) for row in rows]


def _told(row: Row) -> Any:
    return row.score if row.feedback is None else Prediction(score=row.score, feedback=row.feedback)
