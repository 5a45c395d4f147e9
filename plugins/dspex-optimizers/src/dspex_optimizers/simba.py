"""Steps over minibatches: where runs of one example differ, the best becomes a demonstration, or the difference a rule."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dspex import (
    Budget,
    Candidate,
    ConfigurationError,
    Estimate,
    Example,
    Job,
    Module,
    Optimizer,
    Range,
    Rollout,
    Shape,
)
from dspex_optimizers.advice import advised, is_telling
from dspex_optimizers.bucket import Bounds, Bucket, buckets
from dspex_optimizers.checks import at_least, is_model, needs_metric, no_teacher, positive
from dspex_optimizers.draft import Draft, shown, thinned
from dspex_optimizers.fitting import fitted
from dspex_optimizers.standings import Lottery, Standings

RULES_ONLY_DEMOS = 3  # with max_demos=0 the student's own demos go at this rate


class SIMBA(Optimizer):
    """Programs that learn from their own runs on minibatches, by demonstrations and by rules in their instructions.

    A step runs `num_candidates` programs, drawn from the best so far, on `bsize` training examples at temperature 1, takes
    the examples whose runs differ most, and makes `num_candidates` + 1 programs: each a copy of one of the best so far with
    some of its demonstrations dropped, and with the best run added as one, or a rule that `prompt_model` writes from the best
    and the worst run. The best on the minibatch wins the step; after `max_steps` winners spread over all steps are compared
    on the valset, which is the trainset unless given. `teacher_settings` are for one of the runs of each example,
    `max_demos=0` makes rules only, `demo_input_field_maxlen` is in characters. The program has `trial_logs`, by step.
    """

    def __init__(
        self,
        *,
        metric: Any,
        bsize: int = 32,
        num_candidates: int = 6,
        max_steps: int = 8,
        max_demos: int = 4,
        prompt_model: Any = None,
        teacher_settings: Mapping[str, Any] | None = None,
        demo_input_field_maxlen: int | None = 100_000,
        num_threads: int | None = None,
        temperature_for_sampling: float = 0.2,
        temperature_for_candidates: float = 0.2,
    ) -> None:
        at_least(1, bsize=bsize, num_candidates=num_candidates, max_steps=max_steps, num_threads=num_threads)
        at_least(0, max_demos=max_demos, demo_input_field_maxlen=demo_input_field_maxlen)
        positive(
            temperature_for_sampling=temperature_for_sampling, temperature_for_candidates=temperature_for_candidates
        )
        is_model(prompt_model=prompt_model)
        self.metric = metric
        self.bsize = bsize
        self.num_candidates = num_candidates
        self.max_steps = max_steps
        self.max_demos = max_demos
        self.prompt_model = prompt_model
        self.teacher_settings = teacher_settings
        self.demo_input_field_maxlen = demo_input_field_maxlen
        self.num_threads = num_threads
        self.temperature_for_sampling = temperature_for_sampling
        self.temperature_for_candidates = temperature_for_candidates

    def start(self, student: Module, *, trainset: Sequence[Example], **options: Any) -> Job:
        """Begin to compile, and return at once. Raises ConfigurationError without a metric, for a teacher, for few examples."""
        needs_metric(self)
        no_teacher(self, options, "teacher_settings")
        return super().start(student, trainset=trainset, **options)

    def estimate(self, shape: Shape) -> Estimate:
        """Runs and programs of all steps, and the comparison. Raises ConfigurationError for less examples than a minibatch."""
        self.check(shape.train)
        most, one = min(self.num_candidates + 1, self.bsize), shape.calls_per_run
        taught = bool(self.teacher_settings)
        in_steps = self.max_steps * self.bsize * (self.num_candidates - taught + most)
        finalists = min(self.num_candidates, self.max_steps) + 1
        return Estimate(
            task=Range(0, (in_steps + finalists * shape.val) * one),
            teacher=Range(0, self.max_steps * self.bsize * taught * one),
            prompt=Range(0, self.max_steps * most),
        )

    def check(self, train: int) -> None:
        """Raises ConfigurationError where there is no whole minibatch."""
        if train < self.bsize:
            raise ConfigurationError(
                f"SIMBA needs at least bsize={self.bsize} training examples, and there are {train} that are not set apart: "
                f"SIMBA(..., bsize={max(1, train // 2)})."
            )

    def fit(self, shape: Shape, budget: Budget) -> "SIMBA | None":
        """With as many steps and candidates as the budget covers."""
        sizes = range(self.num_candidates, 0, -1)
        return fitted(self, shape, budget, max_steps=range(self.max_steps, 0, -1), num_candidates=sizes)

    async def run(self, ctx: Any) -> Candidate:
        """Three waves a step: runs, rules, programs; and one to compare the winners."""
        self.check(len(ctx.train))
        standings = Standings(ctx.consider(ctx.student, "student"))
        winners = {-1: ctx.student}  # by the step that they won
        logs: dict[int, dict[str, Any]] = {}
        ctx.attach(trial_logs=logs)
        batches = self.batches(ctx)
        for step in range(self.max_steps):
            async with ctx.phase(f"step {step + 1} of {self.max_steps}"):
                batch = next(batches)
                runs = await self.sampled(ctx, step, batch, standings)
                drafts = await self.made(ctx, step, *buckets(batch, runs), standings)
                programs = [self.considered(ctx, step, place, draft) for place, draft in enumerate(drafts)]
                scores = await ctx.evaluate_all([(program, batch) for program in programs])
            for program, one in zip(programs, scores, strict=True):
                standings.register(program, one.values)
            means = [one.mean for one in scores]
            if programs:
                winners[step] = programs[means.index(max(means))]
            sampled = [run.score for row in runs for run in row]
            logs[step] = {
                "batch_scores": means,
                "baseline_score": math.fsum(sampled) / len(sampled),
                "strategies": [draft.strategy for draft in drafts],
            }
        return await self.compared(ctx, winners, logs)

    def batches(self, ctx: Any) -> Iterator[list[Example]]:
        """The next `bsize` of the shuffled trainset; shuffled anew where fewer are left."""
        order, at, epoch = list(ctx.train), len(ctx.train), 0
        while True:
            if at + self.bsize > len(order):
                ctx.rng(f"shuffle/{epoch}").shuffle(order)
                at, epoch = 0, epoch + 1
            yield order[at : at + self.bsize]
            at += self.bsize

    async def sampled(self, ctx: Any, step: int, batch: Sequence[Example], standings: Standings) -> list[list[Rollout]]:
        """`num_candidates` rows of runs, each of programs drawn for the examples of the batch."""
        lottery = standings.lottery(standings.top(self.num_candidates), self.temperature_for_sampling)
        picks = [
            [lottery.drawn(ctx.rng(f"pick/{step}/{row}/{place}")) for place in range(len(batch))]
            for row in range(self.num_candidates)
        ]
        is_taught = [bool(self.teacher_settings) and row == 0 for row in range(self.num_candidates)]
        waves = [
            ctx.evaluate_all(
                [(standings.programs[pick], [example]) for pick, example in zip(row, batch, strict=True)],
                trace=True,
                # Counted on over the steps: an example that comes again is run again.
                sample=step * self.num_candidates + place,
                **({"role": "teacher"} if taught else {"temperature": 1.0}),
            )
            for place, (row, taught) in enumerate(zip(picks, is_taught, strict=True))
        ]
        runs = [[scores.rows[0] for scores in wave] for wave in await ctx.gather(*waves)]
        for row, made, taught in zip(picks, runs, is_taught, strict=True):
            for pick, run in zip(row, made, strict=True):
                if pick == 0 and not taught:  # the one program that no batch has scored
                    standings.seen(0, run.score)
        return runs

    async def made(
        self, ctx: Any, step: int, telling: Sequence[Bucket], bounds: Bounds, standings: Standings
    ) -> list[Draft]:
        """Changed programs, from the most telling buckets on; a question that fails costs a program, and another takes its place.

        No more questions are asked than there are programs to make.
        """
        lottery = standings.lottery(standings.top(self.num_candidates), self.temperature_for_candidates)
        left = list(enumerate(telling))
        most = self.num_candidates + 1
        made: list[Draft] = []
        while left and (room := min(most, self.num_candidates + 1 - len(made))) > 0:
            now, left = left[:room], left[room:]
            drafts = [
                self.draft(ctx.rng(f"draft/{step}/{place}"), bucket, bounds, standings, lottery)
                for place, bucket in now
            ]
            most -= sum(draft.strategy == "rule" for draft in drafts)
            changed = await ctx.gather(*(self.changed(ctx, draft, bounds) for draft in drafts))
            made += [draft for draft in changed if draft is not None]
        return made

    def draft(
        self, rng: random.Random, bucket: Bucket, bounds: Bounds, standings: Standings, lottery: Lottery
    ) -> Draft:
        """A program to change, without some of its demos, and how to change it."""
        source = standings.programs[lottery.drawn(rng)]
        candidate = thinned(source, self.max_demos or RULES_ONLY_DEMOS, rng)
        strategy = rng.choice(["demo", "rule"]) if self.max_demos else "rule"
        can = is_telling(bucket, bounds) if strategy == "rule" else bucket.best.score > bounds.low
        return Draft(source, candidate, strategy if can else "copy", bucket)

    async def changed(self, ctx: Any, draft: Draft, bounds: Bounds) -> Draft | None:
        """The draft with its program changed; None where a rule could not be had."""
        candidate: Candidate | None = draft.candidate
        if draft.strategy == "rule":
            candidate = await advised(ctx, draft.candidate, draft.bucket, bounds)
        elif draft.strategy == "demo":
            candidate = shown(draft.candidate, draft.bucket.best, self.demo_input_field_maxlen)
        return None if candidate is None else msgspec.structs.replace(draft, candidate=candidate)

    def considered(self, ctx: Any, step: int, place: int, draft: Draft) -> Candidate:
        """The draft's program, in the pool."""
        label, meta = f"step {step + 1}, {place} ({draft.strategy})", {"step": step, "strategy": draft.strategy}
        return ctx.consider(draft.candidate, label, parents=[draft.source], meta=meta)  # type: ignore[no-any-return]  # it is what was given

    async def compared(
        self, ctx: Any, winners: Mapping[int, Candidate], logs: Mapping[int, dict[str, Any]]
    ) -> Candidate:
        """The best of the winners, of which at most `num_candidates` + 1 are taken, evenly from first to last."""
        steps, last = list(winners), len(winners) - 1
        places = dict.fromkeys(round(one * last / self.num_candidates) for one in range(self.num_candidates + 1))
        taken = [steps[place] for place in places]
        is_trainset = [ctx.key_of(one) for one in ctx.val] == [ctx.key_of(one) for one in ctx.train]
        async with ctx.phase("comparison", total=len(taken) * len(ctx.val)):
            # On the trainset part of the runs is there, and a race would only be slower.
            race = await ctx.race([winners[step] for step in taken], ctx.val, z=math.inf if is_trainset else 2.4)
        for step, scores in zip(taken, race.scores, strict=True):
            if step in logs and len(scores) == len(ctx.val):
                logs[step]["train_score"] = scores.mean
        winner: Candidate = race.winner
        return winner
