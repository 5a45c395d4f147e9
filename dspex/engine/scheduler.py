"""Which step may run, and when: a wall that falls on the same step whoever finishes first.

A step's place is the path of its branch and its ordinal there. A `gather` splits what is left of the budget among its
branches, and each runs freely within its share; one that runs short waits until every other has ended or is short too.
Then what is left is shared out again, and where it does not cover the next step of the first one in place order, that is
the wall. Timing has no part in it: a share follows from what was spent before, a branch's spending from its own steps.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import ContextVar, copy_context
from typing import Any, ClassVar

from dspex.core.errors import ConfigurationError
from dspex.engine.spend import Spend

BRANCH: ContextVar["Branch"] = ContextVar("dspex_branch")


class Stop(BaseException):
    """No further step is run: `reason` is "budget" or "cancelled". Not for algorithms to catch."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Work:
    """A step: what makes its result is the caller's own matter, its `key` says which results are the same."""

    __slots__ = ("bound", "branch", "index", "key", "place", "results")
    is_typical: ClassVar[bool] = True  # what it takes says something about other steps
    branch: "Branch"
    place: tuple[int, ...]
    index: int
    results: list[Any]  # of its wave, where its own goes to `index`

    def __init__(self, key: str, bound: Spend) -> None:
        self.key = key
        self.bound = bound


class Branch:
    """A strand of an algorithm: the root, or one awaitable of a `gather`."""

    def __init__(self, path: tuple[int, ...], free: Spend, seen: Spend, parent: "Branch | None" = None) -> None:
        self.path = path
        self.parent = parent
        self.free = free  # of its share of the budget, neither spent nor reserved
        self.seen = seen  # the most that a step of it has taken
        self.queue: deque[Any] = deque()
        self.open = 0  # steps admitted and not settled
        self.is_cut = False  # a step of the wave will never run
        self.is_live = True
        self.had: set[str] = set()  # the keys of steps that it, or a branch below it that has ended, was given
        self.done: asyncio.Future[None] | None = None
        self.children: list[Branch] = []
        self._ordinal = 0

    def next_place(self) -> tuple[int, ...]:
        """The place of this branch's next step, gather or candidate."""
        self._ordinal += 1
        return (*self.path, self._ordinal)

    def has_had(self, key: str) -> bool:
        """Whether it was given that step before, or a branch that it is part of was."""
        return key in self.had or (self.parent is not None and self.parent.has_had(key))

    @property
    def moves(self) -> bool:
        """Whether it is live, with none below it, and neither short nor at its end."""
        return self.is_live and not self.children and bool(self.open or not self.queue)

    def leaves(self) -> "Iterator[Branch]":
        """Live branches that have none below them, in place order."""
        for child in self.children:
            yield from child.leaves()
        if self.is_live and not self.children:
            yield self

    def tree(self) -> "Iterator[Branch]":
        """This branch and all below it."""
        yield self
        for child in self.children:
            yield from child.tree()


class Scheduler:
    """Admits, joins, runs and settles the steps of one run, on one loop.

    `recall(work, is_charged)` gives the result and the spend of a step that is known, or None; `execute(work)` makes it
    known. A branch that asks for a step again takes nothing for it; two branches side by side take it each.
    """

    def __init__(
        self,
        limit: Spend,
        concurrency: int,
        recall: Callable[[Any, bool], tuple[Any, Spend] | None],
        execute: Callable[[Any], Coroutine[Any, Any, None]],
    ) -> None:
        self.root = Branch((), limit, Spend())
        self.stopped: BaseException | None = None
        self._recall = recall
        self._execute = execute
        self._concurrency = concurrency
        self._is_paused = False
        self._ready: list[tuple[tuple[int, ...], Work]] = []
        self._flying: dict[str, list[Work]] = {}  # the steps of a key that is admitted, the first one runs
        self._running: dict[asyncio.Task[None], Work] = {}
        self._context = copy_context()

    # For algorithms, through the context

    async def wave(self, works: Sequence[Work]) -> list[Any]:
        """Results of these steps, in their order. Raises Stop, or what ended the run."""
        branch = BRANCH.get()
        if branch.done is not None or branch.children:
            raise ConfigurationError("Steps of one branch run one after another; run them side by side by ctx.gather.")
        results = [None] * len(works)
        for index, work in enumerate(works):
            work.branch, work.place, work.index, work.results = branch, branch.next_place(), index, results
        branch.queue.extend(works)
        branch.done = asyncio.get_running_loop().create_future()
        self._advance([branch])
        try:
            await branch.done
        finally:
            branch.queue.clear()  # of one that was cancelled, and whose algorithm goes on
            branch.done = None
        return results

    async def gather(self, coroutines: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
        """Results of branches that run side by side, in their order."""
        if not coroutines:
            return []
        parent = BRANCH.get()
        place, shares = parent.next_place(), parent.free.shares(len(coroutines))
        parent.free = Spend()
        parent.children = [Branch((*place, i), share, parent.seen, parent) for i, share in enumerate(shares)]
        tasks = [self._branched(*pair) for pair in zip(parent.children, coroutines, strict=True)]
        try:
            await asyncio.wait(tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            raise
        finally:
            for child in parent.children:
                parent.free, parent.seen = parent.free + child.free, parent.seen | child.seen
                parent.had |= child.had
            parent.children = []
        if self.stopped is not None and any(task.exception() for task in tasks):
            raise self.stopped
        return [task.result() for task in tasks]

    def _branched(self, branch: Branch, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        def ended(task: "asyncio.Task[Any]") -> None:
            branch.is_live = False
            error = None if task.cancelled() else task.exception()
            if isinstance(error, Exception):
                self.stop(error)
            self._advance([])

        context = copy_context()
        context.run(BRANCH.set, branch)
        task = asyncio.get_running_loop().create_task(coroutine, context=context)
        task.add_done_callback(ended)
        return task

    # For the job

    @property
    def in_flight(self) -> int:
        """Steps that run."""
        return len(self._running)

    def pause(self, paused: bool = True) -> None:
        """Start no further step until `pause(False)`; those that run go on."""
        self._is_paused = paused
        self._start()

    def stop(self, reason: BaseException) -> None:
        """Run no further step: branches go on as far as known steps carry them, then `reason` is raised in them.

        An Exception cancels the steps that run; after a Stop they come to their end.
        """
        if self.stopped is not None:
            return
        self.stopped = reason
        if isinstance(reason, Exception):
            self.cancel()
        ready, self._ready = self._ready, []
        for _, work in ready:
            self._landed(work)
        self._advance(list(self.root.leaves()))

    async def recovered(self, branch: Branch) -> bool:
        """Let steps run again after an Exception has ended them all; False where it has ended other branches too."""
        if not isinstance(self.stopped, Exception):
            return self.stopped is None
        await self.drained()
        if branch is not self.root:
            return False
        self.stopped, branch.is_cut = None, False
        return True

    def cancel(self) -> None:
        """Cancel the steps that run."""
        for task in self._running:
            task.cancel()

    async def drained(self) -> None:
        """Return when no step runs."""
        while self._running:
            await asyncio.wait(self._running)

    # Admission

    def _advance(self, branches: Sequence[Branch]) -> None:
        for branch in branches:
            self._admit(branch)
        while not any(branch.moves for branch in branches) and (branches := self._shared_out()):
            for branch in branches:
                self._admit(branch)
        self._start()

    def _admit(self, branch: Branch) -> None:
        while branch.queue:
            work = branch.queue[0]
            is_charged = not branch.has_had(work.key)
            if not is_charged and (known := self._recall(work, False)) is not None:
                work.results[work.index] = known[0]
            elif branch.free.covers(work.bound):
                branch.free -= work.bound
                branch.open += 1
                self._offer(work, is_charged)
            else:
                break
            branch.queue.popleft()
        if branch.open or branch.done is None or branch.done.done():
            return
        if not branch.queue and not branch.is_cut:
            branch.done.set_result(None)
        elif self.stopped is not None:
            branch.queue.clear()
            branch.done.set_exception(self.stopped)

    def _offer(self, work: Work, is_charged: bool) -> None:
        """Settle an admitted step that is known, else run it, or let it follow an equal one that runs."""
        branch = work.branch
        known = self._recall(work, is_charged)
        if known is None and self.stopped is None:
            if flying := self._flying.get(work.key):
                flying.append(work)
            else:
                self._flying[work.key] = [work]
                heapq.heappush(self._ready, (work.place, work))  # no two are at one place
            return
        branch.open -= 1
        if known is None:
            branch.free += work.bound
            branch.is_cut = True
            return
        work.results[work.index], spend = known
        branch.free += work.bound - spend if is_charged else work.bound
        branch.had.add(work.key)
        if work.is_typical and not branch.seen.covers(spend):
            branch.seen |= spend

    def _shared_out(self) -> list[Branch]:
        """Once all live branches are short: those branches, with new shares. Empty while one still moves."""
        leaves = list(self.root.leaves())
        if self.stopped is not None or not leaves or not all(leaf.queue and not leaf.open for leaf in leaves):
            return []
        left = Spend()
        for branch in self.root.tree():
            left, branch.free = left + branch.free, Spend()
        need, shares = leaves[0].queue[0].bound, left.shares(len(leaves))
        if not shares[0].covers(need):
            shares = [left, *[Spend()] * (len(leaves) - 1)]
        for leaf, share in zip(leaves, shares, strict=True):
            leaf.free = share
        if left.covers(need):
            return leaves
        self.stop(Stop("budget"))
        return []

    # Running

    def _start(self) -> None:
        while self._ready and len(self._running) < self._concurrency and not self._is_paused and self.stopped is None:
            _, work = heapq.heappop(self._ready)
            making = self._execute(work)
            task = asyncio.get_running_loop().create_task(making, context=self._context.copy())
            self._running[task] = work
            task.add_done_callback(self._ran)

    def _ran(self, task: "asyncio.Task[None]") -> None:
        work = self._running.pop(task)
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        if failure is not None:
            self.stop(failure)
        self._advance(self._landed(work))

    def _landed(self, work: Work) -> list[Branch]:
        """Offer a step that has run or will not, and those that follow it, once more; their branches."""
        works = self._flying.pop(work.key)
        for one in works:
            self._offer(one, not one.branch.has_had(one.key))
        return [work.branch] if len(works) == 1 else list(dict.fromkeys(one.branch for one in works))
