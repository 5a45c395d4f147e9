"""The search: points from a sampler, on minibatches or on the whole valset, and the most promising ones on all of it."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex import Candidate, Example, Scores
from dspex_mipro.space import Space
from dspex_mipro.tpe import STARTUP, Point, library, proposals

BATCH = 4  # points that are looked for at once; more of them make the search faster and its points worse


class Schedule(msgspec.Struct, frozen=True):
    """How a search goes on: `batch` examples a trial or, if None, all; after `every` trials one point on all.

    `race_z` ends full runs of what has clearly lost to another of the same wave; None runs all on all.
    """

    trials: int
    batch: int | None = None
    every: int = 1
    race_z: float | None = None
    is_logged: bool = True
    is_verbose: bool = False


class Trial(msgspec.Struct):
    """A point that was tried: its program, the means of its minibatches, and its mean on the whole valset once it is known."""

    point: Point
    candidate: Candidate
    number: int
    means: list[float] = []
    score: float | None = None

    @property
    def mean(self) -> float:
        """Of its minibatches."""
        return math.fsum(self.means) / len(self.means) if self.means else 0.0


class Search:
    """One search in a context. The program gets DSPy's `trial_logs`, and where it came to its end the best `score`, in per cent."""

    def __init__(self, ctx: Any, space: Space, schedule: Schedule) -> None:
        self.ctx = ctx
        self.space = space
        self.schedule = schedule
        self.history: list[tuple[Point, float]] = []
        self.closed: list[Point] = []  # run on the whole valset: there is nothing more to learn of them
        self.trials: dict[str, Trial] = {}  # by key of the candidate, in the order in which they came up
        self.logs: dict[int, dict[str, Any]] = {}
        self.calls = 0

    async def best(self) -> Candidate:
        """The best of all programs that were run on the whole valset; the first of equals, and the student is the first."""
        ctx, schedule = self.ctx, self.schedule
        student = Trial(self.space.origin, ctx.student, 0)
        self.trials[ctx.student.key] = student
        ctx.consider(ctx.student, "student", meta={"trial": 0})
        [scores] = await ctx.evaluate_all([(ctx.student, ctx.val)])
        self.known(student, scores, is_point=self.space.candidate(student.point).key == ctx.student.key)
        done = 0
        while done < schedule.trials and len(self.closed) < self.space.size:
            most = min(schedule.trials - done, max(BATCH, STARTUP - len(self.history)))
            count = await self.tried(done, most)
            done += count
            if schedule.batch:
                await self.completed(self.due(done) - self.due(done - count))
        best = max(self.finished(), key=lambda trial: (trial.score, -trial.number))
        self.attach(score=round(100 * (best.score or 0.0), 2))
        return best.candidate

    def attach(self, **attributes: Any) -> None:
        """Give them to the program that is returned, unless none are wanted."""
        if self.schedule.is_logged:
            self.ctx.attach(**attributes)

    def due(self, done: int) -> int:
        """How many points are to be run on all examples after so many trials."""
        schedule = self.schedule
        return math.ceil(done / schedule.every) if done == schedule.trials else done // schedule.every

    def finished(self) -> list[Trial]:
        """The trials that were run on the whole valset."""
        return [trial for trial in self.trials.values() if trial.score is not None]

    async def tried(self, done: int, most: int) -> int:
        """The next points, side by side; how many there were."""
        ctx, seed = self.ctx, self.ctx.rng(f"tpe/{done}").getrandbits(32)
        given = self.space.sizes, self.history, self.closed, most, seed
        points = await ctx.compute(f"tpe/{done}", proposals, *given, version=library())
        trials = [self.trial(point, done + at + 1) for at, point in enumerate(points)]
        if self.schedule.batch is None:
            await self.run_full(trials)
            return len(trials)
        batches = [self.minibatch(done + at + 1) for at in range(len(trials))]
        pairs = [(trial.candidate, batch) for trial, batch in zip(trials, batches, strict=True)]
        for trial, scores in zip(trials, await ctx.evaluate_all(pairs), strict=True):
            trial.means.append(scores.mean)
            self.told(trial, scores, "mb_score")
        return len(trials)

    def trial(self, point: Point, number: int) -> Trial:
        """The trial of a point, a new one unless its program was tried before."""
        candidate = self.space.candidate(point)
        if candidate.key not in self.trials:
            self.trials[candidate.key] = Trial(point, candidate, number)
            self.ctx.consider(candidate, f"trial {number}", meta={"trial": number, "point": point})
        return self.trials[candidate.key]

    def minibatch(self, number: int) -> list[Example]:
        """The examples of a trial."""
        drawn: list[Example] = self.ctx.rng(f"minibatch/{number}").sample(list(self.ctx.val), self.schedule.batch)
        return drawn

    async def completed(self, count: int) -> None:
        """Run those points on the whole valset that did best on their minibatches, of those that were not."""
        waiting = [trial for trial in self.trials.values() if trial.score is None]
        waiting.sort(key=lambda trial: -trial.mean)  # stable: the first of equals
        await self.run_full(waiting[:count])

    async def run_full(self, trials: Sequence[Trial]) -> None:
        """Run these on the whole valset, or race them there."""
        if not trials:
            return
        ctx, z = self.ctx, self.schedule.race_z
        if z is None:
            found = await ctx.evaluate_all([(trial.candidate, ctx.val) for trial in trials])
        else:
            found = (await ctx.race([trial.candidate for trial in trials], ctx.val, z=z)).scores
        for trial, scores in zip(trials, found, strict=True):
            self.known(trial, scores)

    def known(self, trial: Trial, scores: Scores, is_point: bool = True) -> None:
        """A trial was run on the whole valset, or lost a race there and was run on a part of it."""
        if len(scores) == len(self.ctx.val):
            trial.score = scores.mean
        if is_point:
            self.closed.append(trial.point)
        self.told(trial, scores, "full_eval_score", is_point)

    def told(self, trial: Trial, scores: Scores, name: str, is_point: bool = True) -> None:
        """Add a result to the history of the sampler, and to the logs."""
        if is_point:
            self.history.append((trial.point, scores.mean))
        self.calls += len(scores)
        log: Mapping[str, Any] = {
            name: round(100 * scores.mean, 2),
            "total_eval_calls_so_far": self.calls,
            "point": trial.point,
        }
        self.logs[len(self.logs) + 1] = dict(log)
        self.attach(trial_logs=self.logs)
        if self.schedule.is_verbose:
            sys.stderr.write(f"trial {len(self.logs)}: {name} {log[name]} on {len(scores)} examples, {trial.point}\n")
