"""Evaluate: a program scored on examples, many at a time, rows as they finish."""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence, Sized
from contextlib import nullcontext
from typing import Any

import msgspec

from dspex.app.accounting import UsageTracker, track_usage
from dspex.app.app import current_app
from dspex.core.clock import derived_rng
from dspex.core.errors import ConfigurationError, EvaluationError
from dspex.core.example import Example, Prediction
from dspex.core.usage import Usage
from dspex.evaluate.report import ProgressBar, print_table, save
from dspex.evaluate.running import Row, Scorer, run_example, runner
from dspex.evaluate.statistics import Interval, mean_interval, wilson
from dspex.runtime.bridge import in_thread
from dspex.runtime.callbacks import Emission


class EvaluationResult(Prediction):
    """A score in per cent and `results`, (example, prediction, score) in the devset's order.

    `rows` has each example's feedback, traceback and seconds too, `usage` what the evaluation paid for.
    """

    __slots__ = ("rows", "usage")
    rows: Sequence[Row]
    usage: Usage

    def __init__(self, score: float, results: list[Any], rows: Sequence[Row] = (), usage: Usage | None = None) -> None:
        super().__init__(score=score, results=results)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "usage", usage or Usage())

    @property
    def interval(self) -> Interval:
        """Where the true score lies, in per cent, at 95 %: Wilson's for 0/1 scores, else the bootstrap's."""
        low, high = mean_interval([score for _, _, score in self.results], derived_rng("evaluate", "bootstrap"))
        return Interval(round(100 * low, 2), round(100 * high, 2))

    @property
    def failures(self) -> list[Row]:
        """Rows whose program or metric raised; they count with the failure score."""
        return [row for row in self.rows if not row.ok]

    def __repr__(self) -> str:
        return f"EvaluationResult(score={self.score}, results=<{len(self.results)} results>, failures={len(self.failures)})"


class Evaluate(msgspec.Struct, eq=False):
    """Scores programs on a devset; what a call is given goes before what is given here.

    `num_threads` is how many examples run at once (None: the setting, 64, or what the LM can do). An example whose program
    or metric raises counts as `failure_score`; at `max_errors` of them (None: the setting, 10) EvaluationError is raised,
    with `.results` so far, and with the last traceback if `provide_traceback`. EvaluationError is also raised, before
    anything is paid, for an example that declares no inputs or lacks one.
    """

    devset: Iterable[Example] | None = None
    metric: Any = None
    num_threads: int | None = None
    display_progress: bool = False
    display_table: bool | int = False
    max_errors: int | None = None
    provide_traceback: bool | None = None
    failure_score: float = 0.0
    save_as_csv: str | None = None
    save_as_json: str | None = None

    def __call__(self, program: Any, *args: Any, **kwargs: Any) -> EvaluationResult:
        """`acall`, waited for."""
        return current_app().bridge.run(self.acall(program, *args, **kwargs))

    async def acall(
        self, program: Any, metric: Any = None, devset: Any = None, num_threads: int | None = None, *,
        callback_metadata: dict[str, Any] | None = None, **changes: Any,
    ) -> EvaluationResult:  # fmt: skip
        """Score the program on all examples; `changes` are this object's other fields, for this call."""
        run = self._with(metric=metric, devset=devset, num_threads=num_threads, **changes)
        inputs = {"program": program, "metric": run.metric, "callback_metadata": callback_metadata}
        with Emission(current_app().settings.callbacks, "evaluate", self, inputs) as emission:
            emission.outputs = result = await run._collect(program)
        name = getattr(run.metric, "__name__", type(run.metric).__name__)
        if run.display_table:
            print_table(result.rows, name, None if run.display_table is True else run.display_table)
        if run.save_as_csv or run.save_as_json:
            await in_thread(save, result.rows, name, run.save_as_csv, run.save_as_json)
        return result

    async def stream(
        self, program: Any, metric: Any = None, devset: Any = None, num_threads: int | None = None
    ) -> AsyncGenerator[Row, None]:
        """Rows as examples finish. A slow consumer holds the workers up; one that leaves cancels them."""
        run = self._with(metric=metric, devset=devset, num_threads=num_threads)
        scorer, called = Scorer(run.metric), runner(program)
        examples, limit = _checked(run.devset, program), run._limit(program)
        ready: deque[Row] = deque()
        fatal: list[BaseException] = []
        news, room, working = asyncio.Event(), asyncio.Event(), limit

        async def work() -> None:
            nonlocal working
            try:
                for index, example in examples:
                    ready.append(await run_example(index, called, example, scorer, run.failure_score))
                    news.set()
                    if len(ready) >= 2 * limit:
                        room.clear()
                        await room.wait()
            except BaseException as error:  # noqa: BLE001  KeyboardInterrupt in a task would end its loop
                fatal.append(error)
            finally:
                working -= 1
                news.set()

        workers = [asyncio.create_task(work()) for _ in range(limit)]
        done = errors = 0
        try:
            while ready or (working and not fatal):
                while ready:
                    row = ready.popleft()
                    if len(ready) <= limit:
                        room.set()
                    done, errors = done + 1, errors + (not row.ok)
                    yield row
                    if not row.ok:
                        run._check_errors(errors, done, row)
                news.clear()
                if working and not fatal:
                    await news.wait()
            if fatal:
                raise fatal[0]
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _collect(self, program: Any) -> EvaluationResult:
        rows: list[Row] = []
        total = _length(self.devset)
        with track_usage() as usage:
            bar = ProgressBar("Evaluate", lambda: (len(rows), total, _so_far(rows, usage)))
            try:
                with bar if self.display_progress else nullcontext():
                    async for row in self.stream(program):
                        rows.append(row)  # noqa: PERF401  the bar looks at them as they come
            except EvaluationError as error:
                error.results = _results(rows)  # type: ignore[attr-defined]  # no other EvaluationError has them
                raise
        if not rows:
            raise EvaluationError("The devset is empty: a score needs at least one example.")
        rows.sort(key=lambda row: row.index)
        score = round(100 * sum(row.score for row in rows) / len(rows), 2)
        return EvaluationResult(score, _results(rows), rows, usage.total)

    def _with(self, **given: Any) -> "Evaluate":
        return msgspec.structs.replace(self, **{name: value for name, value in given.items() if value is not None})

    def _limit(self, program: Any) -> int:
        """How many examples run at once."""
        settings = current_app().settings
        limit: int = settings.num_threads if self.num_threads is None else self.num_threads
        if limit < 1:
            raise ConfigurationError(f"num_threads={limit!r}: one example at a time is the least; None is the setting.")
        if self.num_threads is None:
            lms = {id(lm): lm for part in getattr(program, "predictors", tuple)() if (lm := part.lm or settings.lm)}
            limit = min([limit, *(lm.capabilities.max_concurrency or limit for lm in lms.values())])
        length = _length(self.devset)
        return limit if length is None else min(limit, length)

    def _check_errors(self, errors: int, done: int, last: Row) -> None:
        settings = current_app().settings
        if errors < (settings.max_errors if self.max_errors is None else self.max_errors):
            return
        whole = settings.provide_traceback if self.provide_traceback is None else self.provide_traceback
        shown = (last.error or "").strip()
        raise EvaluationError(
            f"{errors} of {done} examples failed, which is `max_errors`. The last one, example {last.index}: "
            f"{shown if whole else shown.splitlines()[-1]}\nWhat was scored until then is in `.results`."
        )


def _checked(devset: Iterable[Example] | None, program: Any) -> Iterator[tuple[int, Example]]:
    """Numbered examples with the inputs that the program needs; those of a devset with a length are checked at once."""
    if devset is None:
        raise ConfigurationError("Evaluate has no devset: give it one, Evaluate(devset=[...]), or give the call one.")
    required = _required(program)
    checked = ((index, _check(index, example, required)) for index, example in enumerate(devset))
    return checked if _length(devset) is None else iter(list(checked))


def _check(index: int, example: Example, required: frozenset[str]) -> Example:
    declared = getattr(example, "_input_keys", None)
    if declared is None:
        raise EvaluationError(f"Example {index} declares no inputs: call .with_inputs(...) on {example!r:.200}")
    if missing := [name for name in declared | required if name not in example or name not in declared]:
        raise EvaluationError(f"Example {index} lacks the input {', '.join(sorted(missing))}: {example!r:.200}")
    return example


def _required(program: Any) -> frozenset[str]:
    """Inputs that the program cannot do without, as far as its signature or its `forward` tells."""
    if (compiled := getattr(getattr(program, "signature", None), "compiled", None)) is not None:
        return frozenset(field.name for field in compiled.inputs if field.required)
    run = getattr(program, "aforward", None) or getattr(program, "forward", None)
    named = inspect.signature(run).parameters.values() if run else ()
    return frozenset(one.name for one in named if one.default is one.empty and "*" not in str(one))


def _length(devset: Any) -> int | None:
    return len(devset) if isinstance(devset, Sized) else None


def _results(rows: Sequence[Row]) -> list[tuple[Example, Any, float]]:
    return [(row.example, row.prediction, row.score) for row in rows]


def _so_far(rows: Sequence[Row], usage: UsageTracker) -> str:
    done, total, spent = len(rows), sum(row.score for row in rows), usage.total
    low, high = wilson(total, done) if 0 <= total <= done > 0 else (0.0, 1.0)  # graded scores vary less than 0/1 ones
    score = f"{100 * total / done:.1f} [{100 * low:.1f}, {100 * high:.1f}], " if done else ""
    return f"{score}{spent.calls:,} calls, {spent.total_tokens:,} tokens"
