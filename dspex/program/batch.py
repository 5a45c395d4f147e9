"""Many inputs through a program, so many at a time: outcomes as a stream, a failed one with its input and its error."""

import asyncio
import inspect
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sized,
)
from contextlib import aclosing, asynccontextmanager
from contextvars import Context, copy_context
from functools import partial
from numbers import Integral
from typing import Any

import msgspec

from dspex.app.accounting import is_wall
from dspex.app.app import current_app
from dspex.core.errors import BudgetExceeded, ConfigurationError, EvaluationError, InputError
from dspex.core.example import Example
from dspex.core.warn import warn
from dspex.program.calling import model
from dspex.program.shared_iterator import SharedIterator
from dspex.runtime.scope import SCOPE
from dspex.runtime.worker_threads import in_thread
from dspex.service.call import BATCH_WIDTH

Inputs = Iterable[Any] | AsyncIterable[Any]
RunOne = Callable[[Any], Awaitable[Any]]

AHEAD = 2  # items begun and not yet handed over, for each that may run


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What came of the input at `index`: the `prediction`, or the `error` that it ended in."""

    index: int
    example: Any
    prediction: Any = None
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a prediction."""
        return self.error is None


class Outcomes:
    """Outcomes as they come, for `async for` or plain `for`; leaving the loop cancels what still runs.

    At most `limit` run at once, and no more than twice as many inputs are taken before their outcomes are. Raises what
    the source of the inputs raises, and BudgetExceeded at a budget around the loop.
    """

    def __init__(self, run: RunOne, items: Inputs, limit: int, *, ordered: bool = True) -> None:
        self._run = run
        self._items = items
        self._limit = min(limit, max(1, len(items))) if isinstance(items, Sized) else limit
        self._ordered = ordered
        self._context = copy_context()

    def __aiter__(self) -> AsyncIterator[Outcome]:
        return self.stream()

    def stream(self) -> AsyncGenerator[Outcome, None]:
        """The outcomes as a generator, which can be closed."""
        return self._crowd().outcomes(self._context)

    def __iter__(self) -> Iterator[Outcome]:
        from dspex.program.streaming.sync_iterator import flat

        batches = self._crowd().batches(self._context)

        async def batch() -> list[Outcome]:
            return await anext(batches, [])

        return flat(batch, batches.aclose)

    def _crowd(self) -> "_Crowd":
        return _Crowd(self._run, self._items, self._limit, ordered=self._ordered)


class _Crowd:
    """Workers over one source: a task each, and none an item."""

    def __init__(self, run: RunOne, items: Inputs, size: int, *, ordered: bool) -> None:
        self._run = run
        self._size = self._working = size
        self._source = SharedIterator(items, lambda index, item: (index, item))
        self._room = asyncio.Semaphore(AHEAD * size)
        self._news = asyncio.Event()
        self._done: dict[int, Outcome] = {}
        self._order: deque[int] | None = None if ordered else deque()
        self._given = 0
        self._fatal: list[BaseException] = []

    async def outcomes(self, context: Context) -> AsyncGenerator[Outcome, None]:
        """All outcomes, in the inputs' order or as they come; leaving cancels all work."""
        async with self._at_work(context):
            while (outcome := await self._awaited()) is not None:
                self._room.release()
                yield outcome

    async def batches(self, context: Context) -> AsyncGenerator[list[Outcome], None]:
        """The same, all that are there at once: to hand each to another thread costs more than many items do."""
        async with self._at_work(context):
            while (outcome := await self._awaited()) is not None:
                batch = [outcome]
                # Those that are handed over count as ahead until the next are asked for, and leave each worker room for one.
                while len(batch) < self._size and (outcome := self._next()) is not None:
                    batch.append(outcome)
                yield batch
                for _ in batch:
                    self._room.release()

    @asynccontextmanager
    async def _at_work(self, context: Context) -> AsyncIterator[None]:
        start = asyncio.get_running_loop().create_task
        shared = context.copy()
        shared.run(_enter_as_one)
        workers = [start(self._work(), context=shared.copy()) for _ in range(self._size)]
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self._source.aclose()

    async def _awaited(self) -> Outcome | None:
        while (outcome := self._next()) is None:
            if self._fatal:
                raise self._fatal[0]
            if not self._working:
                return None
            self._news.clear()
            await self._news.wait()
        return outcome

    def _next(self) -> Outcome | None:
        if self._order is not None:
            return self._done.pop(self._order.popleft()) if self._order else None
        outcome = self._done.pop(self._given, None)
        self._given += outcome is not None
        return outcome

    async def _work(self) -> None:
        try:
            await self._room.acquire()
            async for index, item in self._source:
                self._done[index] = await self._outcome(index, item)
                if self._order is not None:
                    self._order.append(index)
                self._news.set()
                await self._room.acquire()
        except BaseException as error:  # noqa: BLE001  KeyboardInterrupt in a task would end its loop
            self._fatal.append(error)
        finally:
            self._room.release()
            self._working -= 1
            self._news.set()

    async def _outcome(self, index: int, item: Any) -> Outcome:
        try:
            return Outcome(index, item, await self._run(item))
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if _ends_all(error):
                raise
            return Outcome(index, item, error=error)


def _enter_as_one() -> None:
    """All items are one request where calls queue, and wait for an endpoint that is left alone for a moment."""
    scope = SCOPE.get()
    SCOPE.set(scope.child(request=scope.request or object(), patient=True))


def _ends_all(error: BaseException) -> bool:
    """Whether every further item would end so too."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, BudgetExceeded) and is_wall(error, SCOPE.get())


def side_by_side(programs: Iterable[Any], num_threads: int | None) -> int:
    """How many runs at once: `num_threads`, or the setting, lowered to what the programs' LMs can do; many for batches.

    Raises ConfigurationError for what is no number of at least one, and no LM.
    """
    app = current_app()
    settings = app.settings
    given: Any = settings.num_threads if num_threads is None else num_threads
    if not isinstance(given, Integral) or (limit := int(given)) < 1:
        raise ConfigurationError(f"num_threads={given!r}: one at a time is the least; None is the setting.")
    if num_threads is not None:
        return limit
    parts = [part for program in programs for part in getattr(program, "predictors", tuple)()]
    lms = {id(lm): model(lm, app) for part in parts if (lm := part.lm or settings.lm)}
    if any(getattr(lm, "dispatch", "live") == "batch" for lm in lms.values()):
        return BATCH_WIDTH
    return min([limit, *(lm.capabilities.max_concurrency or limit for lm in lms.values())])


def runs(program: Any, *, access_examples: bool = True) -> RunOne:
    """How a program is given an item: the inputs of an Example, the items of a dict or tuple, a list as it is.

    Without `access_examples` an Example is given as it is. Raises InputError for anything else.
    """
    call: Any = getattr(program, "acall", None)
    if call is None:
        call = program if inspect.iscoroutinefunction(program) else partial(in_thread, program)

    async def run(item: Any) -> Any:
        if isinstance(item, Example):
            return await (call(**item.inputs()) if access_examples else call(item))
        if isinstance(item, Mapping):
            return await call(**item)
        if isinstance(item, tuple):
            return await call(*item)
        if isinstance(item, list):
            return await call(item)
        raise InputError(f"An item is an Example, a dict, a tuple or a list, not {item!r:.120}.")

    return run


async def collected(
    run: RunOne,
    items: Inputs,
    limit: int,
    max_errors: int | None,
    provide_traceback: bool | None,
    *,
    return_failed: bool,
) -> Any:
    """Predictions in order, None where one failed; with `return_failed` the failed inputs and their errors too.

    Raises EvaluationError, with `.results` so far, at `max_errors` (None: the setting) failures; failures that are not
    returned are warned of.
    """
    settings = current_app().settings
    most: int = settings.max_errors if max_errors is None else max_errors
    found: dict[int, Any] = {}
    failed: dict[int, Outcome] = {}
    # As they come: many failures are seen before a slow item at the front has ended.
    async with aclosing(Outcomes(run, items, limit, ordered=False).stream()) as stream:
        async for outcome in stream:
            found[outcome.index] = outcome.prediction
            if outcome.ok:
                continue
            failed[outcome.index] = outcome
            if len(failed) >= most:
                shows_all = settings.provide_traceback if provide_traceback is None else provide_traceback
                raise _too_many(_in_order(found), len(failed), outcome, shows_all=shows_all)
    results, lost = _in_order(found), [failed[index] for index in sorted(failed)]
    if return_failed:
        return results, [one.example for one in lost], [one.error for one in lost]
    if lost:
        warn(
            f"{len(lost)} of {len(results)} inputs failed, and are None in the results. The first, at {lost[0].index}: "
            f"{lost[0].error!r:.300}. return_failed_examples=True gives them."
        )
    return results


def _in_order(found: Mapping[int, Any]) -> list[Any]:
    return [found.get(index) for index in range(max(found, default=-1) + 1)]


def _too_many(results: list[Any], failed: int, last: Outcome, *, shows_all: bool) -> EvaluationError:
    shown = repr(last.error)
    if shows_all and last.error is not None:
        import traceback

        shown = "".join(traceback.format_exception(last.error)).strip()
    error = EvaluationError(
        f"{failed} of {len(results)} inputs failed, which is `max_errors`. The last one, at {last.index}: {shown}\n"
        "What came until then is in `.results`."
    )
    error.results = results  # type: ignore[attr-defined]  # as Evaluate does
    return error
