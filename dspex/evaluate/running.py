"""How one example is run and scored: any form of program and metric, failures as values."""

import asyncio
import inspect
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec

from dspex.app.accounting import is_wall
from dspex.app.app import current_app
from dspex.core.errors import (
    AuthError,
    BudgetExceeded,
    CassetteError,
    ConfigurationError,
    EvaluationError,
    ExecutorFailed,
    InputError,
)
from dspex.core.example import Example, Prediction
from dspex.core.usage import NOTHING, Usage
from dspex.evaluate.meter import Meter
from dspex.evaluate.scoring import normalized
from dspex.runtime.scope import SCOPE, Scope
from dspex.runtime.worker_threads import in_thread

FAST_S = 0.001  # what a sync metric may take of the loop
MUCH_S = 0.05  # what moves it to threads at once
PATIENCE = 3  # slow calls in a row that do: a busy machine takes one or two away from a fast metric

Run = Callable[..., Awaitable[Any]]


class Row(msgspec.Struct, frozen=True, gc=False):
    """One example's outcome; with `ok` False the prediction is empty and `error` holds the traceback.

    `scores` has all scores by name where several metrics were given. `seconds` is the program's time, `usage` what it paid
    for, `judge_usage` what the metric did.
    """

    index: int
    example: Example
    prediction: Any
    score: float
    ok: bool = True
    feedback: str | None = None
    error: str | None = None
    seconds: float = 0.0
    scores: Mapping[str, float] | None = None
    usage: Usage = NOTHING
    judge_usage: Usage = NOTHING


class ExecutorDied(EvaluationError):
    """The metric_executor takes no more work."""


class Pace:
    """Whether sync code may run on the loop: as long as it is fast there, and makes no sync dspex call."""

    def __init__(self) -> None:
        self._bridge = current_app().bridge
        self._slow = 0

    @property
    def is_fast(self) -> bool:
        """Whether `here` is the place for it, and not a thread."""
        return self._slow < PATIENCE

    def here(self, call: Callable[..., Any], *given: Any) -> Any:
        """What it gives; how long it took is noted."""
        nested, start = self._bridge.nested_calls, time.perf_counter()
        try:
            return call(*given)
        finally:
            seconds = time.perf_counter() - start
            if seconds > MUCH_S or self._bridge.nested_calls != nested:
                self._slow = PATIENCE
            elif self._slow or seconds > FAST_S:
                self._slow = self._slow + 1 if seconds > FAST_S else 0


class Scorer:
    """A metric in any form, looked up once: `await scorer(example, prediction, trace)` gives score and feedback.

    Forms: (example, prediction), with a third `trace`, or GEPA's five (gold, pred, trace, pred_name, pred_trace); sync,
    async, or a module. A sync metric runs on the loop while it is fast; once it blocks it, or makes a sync dspex call, it
    runs in threads (`pace`); with an `executor` it runs there, and what it is given is pickled if that is a pool of processes.
    Raises ConfigurationError for what cannot be a metric, EvaluationError for what it may not return.
    """

    def __init__(self, metric: Any, executor: Executor | None = None) -> None:
        self._wants_trace, self._more = _arity(metric)
        self._call: Callable[..., Any] = getattr(metric, "acall", metric)
        self._executor = executor
        self.pace = Pace()
        if executor is not None:
            _check_executor(metric, executor)

    async def __call__(self, example: Example, prediction: Any, trace: Any = None) -> tuple[float, str | None]:
        given: tuple[Any, ...] = (example, prediction)
        if self._wants_trace == "always" or (self._wants_trace and trace is not None):
            given = (example, prediction, trace, *self._more)
        if self._executor is not None:
            return normalized(await _elsewhere(self._executor, self._call, given))
        pace = self.pace
        result = pace.here(self._call, *given) if pace.is_fast else await in_thread(self._call, *given)
        return normalized(await result if inspect.iscoroutine(result) else result)


def runner(program: Any) -> Run:
    """The program's async form: its `acall`, itself if it is an async function, else in a thread."""
    call: Run | None = getattr(program, "acall", None)
    return call or (program if inspect.iscoroutinefunction(program) else partial(in_thread, program))


class Worker:
    """Runs and scores one example after another, in the task that made it; what raises becomes a failed row.

    The first scorer's score is the row's. `judge` is the scope of the metrics, if they have one of their own.
    """

    def __init__(self, run: Run, scorers: Mapping[str, Scorer], failure_score: float, judge: Scope | None) -> None:
        self._run = run
        self._names = tuple(scorers)
        self._first, *self._others = scorers.values()
        self._failure_score = failure_score
        self._meter = Meter()
        scope = SCOPE.get()
        self._scope = scope.child(trackers=(*scope.trackers, self._meter))
        self._judge = judge and judge.child(trackers=self._scope.trackers)
        SCOPE.set(self._scope)  # for the rest of the task

    async def row(self, index: int, example: Example) -> Row:
        """The example's row. Raises what would befall every other example too."""
        start, seconds = time.perf_counter(), None
        keys = example._input_keys or ()
        meter, used = self._meter, NOTHING
        try:
            # `**example.inputs()` makes two more objects: 8 us an example against 1.
            prediction = await self._run(**{key: value for key, value in example._store.items() if key in keys})
            seconds = time.perf_counter() - start
            if meter.paid:
                used = meter.take()
            if self._judge is not None:
                SCOPE.set(self._judge)
            score, feedback = await self._first(example, prediction)
            scores = None
            if self._others:
                scores, feedback = await self._all(example, prediction, score, feedback)
        except (Exception, SystemExit, asyncio.CancelledError) as failure:
            if self._is_common(index, failure):
                raise
            late = meter.take()
            used, judged = (used, late) if seconds is not None else (late, NOTHING)
            error, seconds = traceback.format_exc(), seconds or time.perf_counter() - start
            scores = dict.fromkeys(self._names, self._failure_score) if self._others else None
            return Row(
                index, example, Prediction(), self._failure_score, False, None, error, seconds, scores, used, judged
            )
        finally:
            if self._judge is not None:
                SCOPE.set(self._scope)
        judged = meter.take() if meter.paid else NOTHING
        return Row(index, example, prediction, score, True, feedback, None, seconds, scores, used, judged)

    async def _all(
        self, example: Example, prediction: Any, score: float, feedback: str | None
    ) -> tuple[dict[str, float], str | None]:
        found = [(score, feedback), *[await one(example, prediction) for one in self._others]]
        told = [f"{name}: {text}" for name, (_, text) in zip(self._names, found, strict=True) if text]
        scores = {name: value for name, (value, _) in zip(self._names, found, strict=True)}
        return scores, "\n".join(told) or None

    def _is_common(self, index: int, failure: BaseException) -> bool:
        """Whether it ends the evaluation: every further row would say the same, and the score be a false 0."""
        if isinstance(failure, asyncio.CancelledError):
            task = asyncio.current_task()
            return task is not None and task.cancelling() > 0
        if isinstance(failure, BudgetExceeded):
            return is_wall(failure, self._judge or self._scope)
        ends_all = isinstance(failure, CassetteError | ExecutorDied | ExecutorFailed)
        return ends_all or (index == 0 and isinstance(failure, InputError | ConfigurationError | AuthError))


async def _elsewhere(executor: Executor, call: Callable[..., Any], given: Sequence[Any]) -> Any:
    from concurrent.futures import ThreadPoolExecutor  # late: it loads queues and threads

    if isinstance(executor, ThreadPoolExecutor):
        call = partial(copy_context().run, call)
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, call, *given)
    except BrokenExecutor as error:
        raise ExecutorDied(
            f"The metric_executor died: {error} A metric that crashes its process, or is killed for the memory it takes, does "
            "that; give a new executor."
        ) from error
    except Exception as error:
        if _in_processes(executor) and (fault := _pickled(given)) is not None:
            raise EvaluationError(
                f"What the metric is given cannot be sent to a process of the metric_executor: {fault}. Return plain data "
                "from the program, or use a ThreadPoolExecutor."
            ) from error
        raise


def _check_executor(metric: Any, executor: Executor) -> None:
    if not isinstance(executor, Executor):
        raise ConfigurationError(f"metric_executor={executor!r}: give a concurrent.futures.Executor.")
    if hasattr(metric, "acall") or inspect.iscoroutinefunction(metric):
        raise ConfigurationError(f"metric={metric!r} is async and waits on the loop: it needs no metric_executor.")
    if _in_processes(executor) and (fault := _pickled(metric)) is not None:
        raise ConfigurationError(
            f"metric={metric!r} cannot be sent to a process of the metric_executor: {fault}. Define it at the top of an "
            "importable module."
        )


def _in_processes(executor: Executor) -> bool:
    from concurrent.futures import ProcessPoolExecutor  # late: it loads multiprocessing

    return isinstance(executor, ProcessPoolExecutor)


def _pickled(value: Any) -> str | None:
    """Why a value cannot be pickled, or None."""
    import pickle

    try:
        pickle.dumps(value)
    except Exception as error:  # noqa: BLE001  any code of the value may run, and raise
        return f"{type(error).__name__}: {error}"
    return None


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
