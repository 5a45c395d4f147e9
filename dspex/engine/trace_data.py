"""bootstrap_trace_data: a program's runs on a data set, with the calls of each of its predictors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import AdapterParseError, BudgetExceeded, EvaluationError, LMError
from dspex.core.example import Example
from dspex.core.warn import warn
from dspex.evaluate.evaluate import Evaluate
from dspex.evaluate.running import Row, Scorer, runner
from dspex.runtime.scope import use

Trace = list[tuple[Any, Mapping[str, Any], Any]]


class FailedPrediction(msgspec.Struct, frozen=True):
    """What stands for the prediction of a run that could not be read, or that raised."""

    completion_text: str
    format_reward: float | None = None


class TraceData(TypedDict):
    """One run: (predictor, inputs, prediction) of each call in `trace`; `score` where there is a metric."""

    example_ind: int
    example: Example
    prediction: Any
    trace: Trace
    score: NotRequired[float]


class _Traced:
    """A program whose result is its prediction beside its trace."""

    def __init__(self, program: Any, captures: tuple[bool, bool], scores: tuple[float, float]) -> None:
        self._program = program
        self._run = runner(program)
        self._parse_failures, self._crashes = captures
        self._failure_score, self._format_score = scores
        self.predictors: Callable[[], Sequence[Any]] = getattr(program, "predictors", list)

    async def acall(self, **inputs: Any) -> tuple[Any, Trace]:
        trace: Trace = []
        try:
            with use(trace=trace):
                return await self._run(**inputs), trace
        except AdapterParseError as error:
            if not self._parse_failures:
                raise
            predictor = next((one for one in self.predictors() if is_of(one, error.signature)), None)
            failed = FailedPrediction(error.lm_response, self._reward(error))
            return failed, [*trace, (predictor, inputs, failed)]
        except (LMError, BudgetExceeded):
            raise
        except Exception as error:
            if not self._crashes:
                raise
            return FailedPrediction(f"{type(error).__name__}: {error}"), trace

    def _reward(self, error: AdapterParseError) -> float:
        """Between the format's failure score and the plain one, by the share of the outputs that were there."""
        outputs = getattr(error.signature, "output_fields", None) or ()
        share = len(error.parsed_result or ()) / len(outputs) if outputs else 0.0
        return self._format_score + (self._failure_score - self._format_score) * min(1.0, share)


def is_of(predictor: Any, signature: Any) -> bool:
    """Whether that is the predictor's signature, in either form."""
    return signature is not None and signature in (predictor.signature, predictor.signature.compiled)


def bootstrap_trace_data(*args: Any, **kwargs: Any) -> list[TraceData]:
    """`abootstrap_trace_data`, waited for."""
    return current_app().bridge.run(abootstrap_trace_data(*args, **kwargs))


async def abootstrap_trace_data(  # noqa: PLR0917  DSPy's order
    program: Any,
    dataset: Sequence[Example],
    metric: Any = None,
    num_threads: int | None = None,
    raise_on_error: bool = True,
    capture_failed_parses: bool = False,
    failure_score: float = 0.0,
    format_failure_score: float = -1.0,
    log_format_failures: bool = False,
    callback_metadata: dict[str, Any] | None = None,
    capture_crashes: bool = False,
) -> list[TraceData]:
    """Run a program on each example, side by side, and keep what each predictor was given and made, in the dataset's order.

    `capture_failed_parses` keeps a reply that could not be read as a FailedPrediction with a reward between
    `format_failure_score` and `failure_score`, `capture_crashes` any other error of the program; `log_format_failures` warns
    of them. All examples are run; those that failed are left out, or with `raise_on_error` EvaluationError is raised, with
    the data of the others as its `results`.
    """
    scorer = Scorer(metric) if metric is not None else None

    async def scored(example: Example, outcome: Any) -> Any:
        prediction = outcome[0]
        if isinstance(prediction, FailedPrediction):
            return format_failure_score if prediction.format_reward is None else prediction.format_reward
        if scorer is None:
            return 1.0
        score, _ = await scorer(example, prediction)
        return score

    traced = _Traced(program, (capture_failed_parses, capture_crashes), (failure_score, format_failure_score))
    evaluate = Evaluate(
        list(dataset),
        scored,
        num_threads,
        max_errors=len(dataset) + 1,
        failure_score=failure_score,
        display_progress=True,
    )
    rows = (await evaluate.acall(traced, callback_metadata=callback_metadata)).rows
    data = [_data(row, has_score=metric is not None) for row in rows if row.ok]
    failed = [row for row in rows if not row.ok]
    unread = sum(isinstance(one["prediction"], FailedPrediction) for one in data)
    if log_format_failures and unread:
        warn(f"{unread} of {len(rows)} runs gave no prediction; they are kept as FailedPrediction.")
    if failed and raise_on_error:
        last = (failed[0].error or "").strip().rpartition("\n")[2]
        message = f"{len(failed)} of {len(rows)} examples failed; the first, example {failed[0].index}: {last}"
        error = EvaluationError(f"{message}. raise_on_error=False leaves them out.")
        error.results = data  # type: ignore[attr-defined]  # as Evaluate does
        raise error
    return data


def _data(row: Row, *, has_score: bool) -> TraceData:
    prediction, trace = row.prediction
    data = TraceData(example_ind=row.index, example=row.example, prediction=prediction, trace=trace)
    if has_score:
        data["score"] = row.score
    return data
