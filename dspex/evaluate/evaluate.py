"""Evaluate: a program scored on examples, many at a time, rows as they finish."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import BudgetExceeded, ConfigurationError, EvaluationError, ExecutorFailed
from dspex.core.example import Example
from dspex.core.usage import Budget
from dspex.evaluate.devset import Numbered, checked, length
from dspex.evaluate.report import ProgressBar, Tally, print_table, save
from dspex.evaluate.result import EvaluationResult, SliceBy, collected, pairs
from dspex.evaluate.running import Row, Scorer, Worker, runner
from dspex.program.batch import side_by_side
from dspex.program.shared_iterator import SharedIterator
from dspex.runtime.callbacks import Emission
from dspex.runtime.scope import SCOPE, Scope, use
from dspex.runtime.worker_threads import in_thread
from dspex.service.ledger import BudgetScope

if TYPE_CHECKING:
    from pathlib import Path

    from dspex.evaluate.finished import Finished

__all__ = ["Crew", "Evaluate", "EvaluationResult", "named"]  # the result is also found at DSPy's path


class Evaluate(msgspec.Struct, eq=False):
    """Scores programs on a devset; what a call is given goes before what is given here.

    `devset` is any iterable or async iterable of Examples. `num_threads` is how many examples run at once (None: the
    setting, 64, or what the LM can do). An example whose program or metric raises counts as `failure_score`; at
    `max_errors` of them (None: the setting, 10) EvaluationError is raised, with `.results` so far, and with the last
    traceback if `provide_traceback`. EvaluationError is also raised, before anything is paid, for an example that declares
    no inputs or lacks one; BudgetExceeded, with `.results` too, at a budget around the evaluation.

    `metric` may be a list of functions or a dictionary of named ones: the first one's mean is the score. A metric is a
    function of (example, prediction[, trace]), sync or async, or a Module. `metric_executor` runs sync ones, as a
    ProcessPoolExecutor for those that are heavy. `judge_lm` is the model of a metric that asks one, `judge_budget` a wall
    of its own around what metrics pay. `slice_by`, a field's name or a function of the example, gives `result.slices`.

    `run_dir` is a folder in which each finished example is kept: the same evaluation on it runs the others only, failed
    ones included; predictions come back from it as JSON data. Raises JournalError if it belongs to another.

    `executor`, the name of a plugin or an object, runs the program in other processes or on other machines; metrics run here.
    Raises ConfigurationError for a program that no other process could make again, ExecutorFailed if the executor does.
    """

    devset: Iterable[Example] | AsyncIterable[Example] | None = None
    metric: Any = None
    num_threads: int | None = None
    display_progress: bool = False
    display_table: bool | int = False
    max_errors: int | None = None
    provide_traceback: bool | None = None
    failure_score: float = 0.0
    save_as_csv: str | None = None
    save_as_json: str | None = None
    metric_executor: Executor | None = None
    judge_lm: Any = None
    judge_budget: Budget | None = None
    slice_by: SliceBy | None = None
    run_dir: "str | Path | None" = None
    executor: Any = None

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
        async with Emission(current_app().settings.callbacks, "evaluate", self, inputs) as emission:
            emission.outputs = result = await run._collect(program)
        names = list(named(run.metric))
        if run.display_table:
            print_table(result, names, None if run.display_table is True else run.display_table)
        if run.save_as_csv or run.save_as_json:
            await in_thread(save, result.rows, names, run.save_as_csv, run.save_as_json)
        return result

    async def stream(
        self, program: Any, metric: Any = None, devset: Any = None, num_threads: int | None = None, **changes: Any
    ) -> AsyncGenerator[Row, None]:
        """Rows as examples finish. A slow consumer holds the workers up; one that leaves cancels them."""
        run = self._with(metric=metric, devset=devset, num_threads=num_threads, **changes)
        errors = done = 0
        async with aclosing(run._batches(program)) as batches:
            async for batch in batches:
                for row in batch:
                    done += 1
                    yield row
                    if not row.ok:
                        errors += 1
                        run._check_errors(errors, done, row)

    async def _collect(self, program: Any) -> EvaluationResult:
        rows: list[Row] = []
        errors = 0
        bar = ProgressBar("Evaluate", Tally(rows, length(self.devset)).state) if self.display_progress else None
        try:
            with bar or nullcontext():
                async with aclosing(self._batches(program)) as batches:
                    async for batch in batches:
                        for row in batch:
                            rows.append(row)
                            if not row.ok:
                                errors += 1
                                self._check_errors(errors, len(rows), row)
        except (EvaluationError, BudgetExceeded, ExecutorFailed) as error:
            error.results = pairs(rows)  # type: ignore[union-attr]  # no other error of these classes has them
            raise
        if not rows:
            raise EvaluationError("The devset is empty: a score needs at least one example.")
        return collected(rows, named(self.metric), self.slice_by)

    async def _batches(self, program: Any) -> AsyncGenerator[list[Row], None]:
        metrics = named(self.metric)
        scorers = {name: Scorer(one, self.metric_executor) for name, one in metrics.items()}
        examples, limit = checked(self.devset, program, self.slice_by), self._limit(program)
        async with AsyncExitStack() as stack:
            kept: Finished | None = None
            if self.run_dir is not None:
                from dspex.evaluate.finished import opening  # late: journal and fingerprints

                opened = opening(self.run_dir, program, metrics, self.devset, self.judge_lm)
                kept = stack.enter_context(await in_thread(opened))
            run = runner(program)
            if self.executor is not None:
                from dspex.evaluate.elsewhere import elsewhere  # late: it loads what makes programs of files

                run = await stack.enter_async_context(elsewhere(self.executor, program, length(self.devset)))
            new = partial(Worker, run, scorers, self.failure_score, self._judge())
            async with aclosing(Crew(limit, new, kept).batches(examples)) as batches:
                async for batch in batches:
                    yield batch

    def _with(self, **given: Any) -> "Evaluate":
        return msgspec.structs.replace(self, **{name: value for name, value in given.items() if value is not None})

    def _judge(self) -> Scope | None:
        """The scope of the metrics, where they have a model or a budget of their own."""
        if self.judge_lm is None and self.judge_budget is None:
            return None
        scope = SCOPE.get()
        own = {} if self.judge_lm is None else {"lm": self.judge_lm}
        wall = () if self.judge_budget is None else (BudgetScope(self.judge_budget, current_app().clock),)
        return scope.child(overlay={**scope.overlay, **own}, budgets=(*scope.budgets, *wall))

    def _limit(self, program: Any) -> int:
        """How many examples run at once."""
        limit = side_by_side([program], self.num_threads)
        known = length(self.devset)
        return limit if known is None else min(limit, known)

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


class Crew:
    """Workers over one devset: a task each, and none an example; rows as they finish, kept ones without running."""

    def __init__(self, size: int, new: Callable[[], Worker], kept: "Finished | None") -> None:
        self._size = size
        self._new = new
        self._kept = kept
        self._ready: list[Row] = []
        self._fatal: list[BaseException] = []
        self._news, self._room, self._working = asyncio.Event(), asyncio.Event(), size

    async def batches(self, examples: Iterator[Numbered] | SharedIterator[Numbered]) -> AsyncGenerator[list[Row], None]:
        """The rows that have come since the last batch; leaving cancels all work."""
        with use(patient=True):
            workers = [asyncio.create_task(self._work(examples)) for _ in range(self._size)]
        try:
            while self._ready or (self._working and not self._fatal):
                batch, self._ready = self._ready, []
                self._room.set()
                if batch:
                    yield batch
                self._news.clear()
                if not self._ready and self._working and not self._fatal:
                    await self._news.wait()
            if self._fatal:
                raise self._fatal[0]
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            if isinstance(examples, SharedIterator):
                await examples.aclose()

    async def _work(self, examples: Iterator[Numbered] | SharedIterator[Numbered]) -> None:
        try:
            row_of = self._new().row
            if self._kept is not None:
                row_of = partial(self._kept_row, row_of, self._kept)
            if isinstance(examples, SharedIterator):
                async for index, example in examples:
                    if self._is_full(await row_of(index, example)):
                        await self._room.wait()
            else:
                for index, example in examples:
                    if self._is_full(await row_of(index, example)):
                        await self._room.wait()
        except BaseException as error:  # noqa: BLE001  KeyboardInterrupt in a task would end its loop
            self._fatal.append(error)
        finally:
            self._working -= 1
            self._news.set()

    async def _kept_row(
        self, row_of: Callable[[int, Example], Awaitable[Row]], kept: "Finished", index: int, example: Example
    ) -> Row:
        row = kept.row(index, example)
        if row is None:
            row = await row_of(index, example)
            kept.keep(row)
        return row

    def _is_full(self, row: Row) -> bool:
        """Hand a row over, and say whether the consumer has to catch up first."""
        self._ready.append(row)
        if len(self._ready) == 1:
            self._news.set()
        if len(self._ready) < 2 * self._size:
            return False
        self._room.clear()
        return True


def named(metric: Any) -> dict[str, Any]:
    """Metrics by name; one alone, and those of a list, bear their own. Raises ConfigurationError for none or equal names."""
    if isinstance(metric, Mapping):
        metrics = dict(metric)
    else:
        several = metric if isinstance(metric, Sequence) and not isinstance(metric, str) else [metric]
        metrics = {getattr(one, "__name__", type(one).__name__): one for one in several}
        if len(metrics) < len(several):
            raise ConfigurationError(
                "Two of the metrics have one name: give them as a dictionary, metric={'name': function}."
            )
    if not metrics:
        raise ConfigurationError("Evaluate was given no metric: the list or dictionary is empty.")
    return metrics
