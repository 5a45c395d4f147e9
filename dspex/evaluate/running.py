"""How one example is run and scored: any form of program and metric, failures as values."""

import asyncio
import inspect
import time
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import ConfigurationError, InputError
from dspex.core.example import Example, Prediction
from dspex.evaluate.metrics import normalized
from dspex.runtime.bridge import in_thread

FAST_S = 0.001  # what a sync metric may take of the loop
MUCH_S = 0.05  # what moves it to threads at once
PATIENCE = 3  # slow calls in a row that do: a busy machine takes one or two away from a fast metric

Run = Callable[..., Awaitable[Any]]


class Row(msgspec.Struct, frozen=True, gc=False):
    """One example's outcome; with `ok` False the prediction is empty and `error` holds the traceback."""

    index: int
    example: Example
    prediction: Any
    score: float
    ok: bool = True
    feedback: str | None = None
    error: str | None = None
    seconds: float = 0.0


class Scorer:
    """A metric in any form, looked up once: `await scorer(example, prediction, trace)` gives score and feedback.

    Forms: (example, prediction), with a third `trace`, or GEPA's five (gold, pred, trace, pred_name, pred_trace); sync,
    async, or a module. A sync metric runs on the loop while it is fast; once it blocks it, or makes a sync dspex call, it
    runs in threads. Raises ConfigurationError for what cannot be a metric, EvaluationError for what it may not return.
    """

    def __init__(self, metric: Any) -> None:
        self._wants_trace, self._more = _arity(metric)
        self._call: Callable[..., Any] = getattr(metric, "acall", metric)
        self._bridge = current_app().bridge
        self._slow = 0

    async def __call__(self, example: Example, prediction: Any, trace: Any = None) -> tuple[float, str | None]:
        given: tuple[Any, ...] = (example, prediction)
        if self._wants_trace == "always" or (self._wants_trace and trace is not None):
            given = (example, prediction, trace, *self._more)
        result = self._inline(given) if self._slow < PATIENCE else await in_thread(self._call, *given)
        return normalized(await result if inspect.iscoroutine(result) else result)

    def _inline(self, given: tuple[Any, ...]) -> Any:
        nested, start = self._bridge.nested_calls, time.perf_counter()
        try:
            return self._call(*given)
        finally:
            seconds = time.perf_counter() - start
            if seconds > MUCH_S or self._bridge.nested_calls != nested:
                self._slow = PATIENCE
            elif self._slow or seconds > FAST_S:
                self._slow = self._slow + 1 if seconds > FAST_S else 0


def runner(program: Any) -> Run:
    """The program's async form: its `acall`, itself if it is an async function, else in a thread."""
    call: Run | None = getattr(program, "acall", None)
    return call or (program if inspect.iscoroutinefunction(program) else partial(in_thread, program))


async def run_example(index: int, run: Run, example: Example, scorer: Scorer, failure_score: float) -> Row:
    """One example run and scored; what the program or the metric raises becomes a row with the failure score."""
    start = time.perf_counter()
    keys = example._input_keys or ()
    try:
        # `**example.inputs()` makes two more objects: 8 us an example against 1.
        prediction = await run(**{key: value for key, value in example._store.items() if key in keys})
        score, feedback = await scorer(example, prediction)
    except (Exception, SystemExit, asyncio.CancelledError) as failure:
        task = asyncio.current_task()
        if isinstance(failure, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        if index == 0 and isinstance(failure, InputError):
            raise  # the devset does not fit the program: every row would say so, and the score would be a false 0
        error = traceback.format_exc()
        return Row(index, example, Prediction(), failure_score, False, None, error, time.perf_counter() - start)
    return Row(index, example, prediction, score, True, feedback, None, time.perf_counter() - start)


def _arity(metric: Any) -> tuple[str, tuple[Any, ...]]:
    """When a metric is given the trace ("", "asked", "always"), and what follows it."""
    target = getattr(metric, "aforward", None) or getattr(metric, "forward", None) or metric
    parameters = inspect.signature(target).parameters.values() if callable(target) else ()
    named = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = sum(one.default is one.empty for one in named)
    starred = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    if (len(named) < 2 and not starred) or required > 5:
        raise ConfigurationError(f"metric={metric!r}: a metric is a function of (example, prediction[, trace]).")
    if required > 2:
        return "always", (None,) * (required - 3)
    third = named[2] if len(named) > 2 else None
    return "asked" if starred or (third and (third.default is None or third.name == "trace")) else "", ()
