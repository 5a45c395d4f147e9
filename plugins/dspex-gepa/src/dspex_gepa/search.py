"""The search: rounds of reflection, and merges of what they have found (2507.19457, algorithm 1)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from dspex import Candidate, ConfigurationError, Example, Scores
from dspex_gepa.batches import Epochs
from dspex_gepa.frontier import drawn, kept
from dspex_gepa.merging import SAMPLE, Lineage, Merge, merge_of, sampled
from dspex_gepa.population import Population, state_of
from dspex_gepa.records import Critic
from dspex_gepa.reflection import Question, Writer
from dspex_gepa.stepping import bound


class Rules(msgspec.Struct, frozen=True):
    """How a search goes: `proposals` a round, `size` of a minibatch, how parents and components are chosen.

    A minibatch on which each score is at least `enough` gives nothing to reflect on. `merges` is the most that are accepted.
    """

    size: int
    proposals: int
    strategy: str
    components: Any
    enough: float | None
    merges: int


class Task(msgspec.Struct, frozen=True):
    """One proposal of a round: whose text is changed, and the examples that show how."""

    index: int
    parent: int
    batch: tuple[Example, ...]


class Child(msgspec.Struct, frozen=True):
    """A new candidate, and what its parent scored on the examples of its task."""

    task: Task
    candidate: Candidate
    before: float


class Search:
    """One run; all that it draws and runs goes through the context."""

    def __init__(self, ctx: Any, rules: Rules, population: Population, critic: Critic, writer: Writer) -> None:
        self._ctx = ctx
        self._rules = rules
        self._critic = critic
        self._writer = writer
        self.population = population
        self.meter = population.meter
        self._epochs = Epochs(len(ctx.train), rules.size, ctx.rng)
        self._round = 0
        self._is_fresh = False  # the last round gave a new candidate
        self._due = self._merged = 0
        self._done: set[tuple[object, ...]] = set()

    async def run(self) -> Candidate:
        """Rounds until the metric calls are used up, or nothing can be better; the best candidate."""
        ctx = self._ctx
        async with ctx.phase("student", total=len(ctx.val)):
            await self._enter([ctx.consider(ctx.student, "student")], [()])
        async with ctx.phase("search"):
            while not self._is_perfect() and (await self._merge() or await self._reflect()):
                self._round += 1
        return self.population[self.population.best].candidate

    def _width(self) -> int:
        """Proposals of the next round: as many as can come to their end with all that acceptance takes.

        The first round is begun in any case, and goes as far as it may: a budget for less is somebody's trial of a metric
        or of a proposer.
        """
        whole = self.meter.left // (2 * self._epochs.size + len(self._ctx.val))
        least = int(not self._round and self.meter.left > 0)
        return max(least, min(self._rules.proposals, whole))

    def _is_perfect(self) -> bool:
        """Whether the best candidate is all right on the valset: then no other one could take its place."""
        enough, best = self._rules.enough, self.population[self.population.best]
        return enough is not None and min(best.scores) >= enough

    # Reflection

    async def _reflect(self) -> bool:
        """A round of proposals; whether there was room for one."""
        tasks = [self._task(index) for index in range(self._width())]
        if not tasks:
            return False
        population = self.population
        before = await self._run([(population[task.parent].candidate, task.batch) for task in tasks])
        questions = await self._questions(list(zip(tasks, before, strict=True)))
        texts = await self._writer.texts([question for _, question in questions])
        children = self._children(
            [
                (task, question.candidate.with_instructions(made))
                for (task, question), made in zip(questions, texts, strict=True)
            ],
            {task.index: sum(scores.values) for task, scores in zip(tasks, before, strict=True)},
        )
        children = children[: self._affordable([len(child.task.batch) for child in children])]
        after = await self._run([(child.candidate, child.task.batch) for child in children])
        better = [child for child, scores in zip(children, after, strict=True) if sum(scores.values) > child.before]
        better = better[: self._affordable([len(self._ctx.val)] * len(better))]
        parents = [(child.task.parent,) for child in better]
        await self._enter([self._considered(child.candidate, child.task.parent) for child in better], parents)
        self._is_fresh = bool(better)
        self._due += sum(self._merged < self._rules.merges for _ in better)
        return True

    def _task(self, index: int) -> Task:
        population, ctx = self.population, self._ctx
        parent = population.best
        if self._rules.strategy == "pareto":
            parent = drawn(population.fronts, population.means, ctx.rng(f"parent/{self._round}/{index}"))
        batch = tuple(ctx.train[place] for place in self._epochs.batch())
        return Task(index, parent, batch[: self.meter.left])

    async def _questions(self, runs: Sequence[tuple[Task, Scores]]) -> list[tuple[Task, Question]]:
        """What is to be reflected on; nothing where all went well, or where no run can be shown."""
        enough = self._rules.enough
        runs = [(task, scores) for task, scores in runs if enough is None or min(scores.values) < enough]
        wanted = []
        for task, scores in runs:
            typed = self._critic.runs(self.population[task.parent].candidate)
            for path in await self._components(task, scores):
                rng = self._ctx.rng(f"step/{self._round}/{task.index}/{path}")
                wanted.append((task, path, self._critic.chosen(typed, scores, path, rng)))
        made = await self._critic.records([(path, calls) for _, path, calls in wanted])
        found = []
        for task, _ in runs:
            records = {path: rows for (one, path, _), rows in zip(wanted, made, strict=True) if one is task and rows}
            if records:
                found.append((task, Question(self.population[task.parent].candidate, records)))
        return found

    async def _components(self, task: Task, scores: Scores) -> list[str]:
        """The predictors whose instructions are to change; of those that take turns, the next that was called."""
        names = list(self.population[0].texts)
        if callable(self._rules.components):
            return await self._selected(self._rules.components, task, scores)
        if self._rules.components == "all":
            return names
        turn = self.population.turns[task.parent]
        order = [*names[turn:], *names[:turn]]
        name = next((name for name in order if self._critic.has_called(scores, name)), order[0])
        self.population.turns[task.parent] = (names.index(name) + 1) % len(names)
        return [name]

    async def _selected(self, selector: Callable[..., Any], task: Task, scores: Scores) -> list[str]:
        """Those that the user's function names. Raises ConfigurationError for a name that is none."""
        state = state_of(self.population, self._round)
        texts = self.population[task.parent].texts
        typed = self._critic.runs(self.population[task.parent].candidate)
        trajectories = [typed.trajectory(row, place) for place, row in enumerate(scores)]
        step = bound(selector, state, trajectories, scores.values, task.parent, texts)
        identity = (state, task.index, task.parent, [[row.example, row.score, row.outputs] for row in scores])
        found: Any = await self._ctx.compute("components", step, *identity, version=selector)
        wrong = [name for name in found if name not in texts] if isinstance(found, list) else [found]
        if wrong:
            raise ConfigurationError(
                f"component_selector gave {wrong[0]!r:.80}: it has to give a list of predictors' names, {', '.join(texts)}."
            )
        return list(dict.fromkeys(found))

    def _children(self, made: Sequence[tuple[Task, Candidate]], before: Mapping[int, float]) -> list[Child]:
        """The new candidates; a text that was there before, in this round too, makes none."""
        known, children = self.population.keys, []
        for task, candidate in made:
            if candidate.key not in known:
                known.add(candidate.key)
                children.append(Child(task, candidate, before[task.index]))
        return children

    # Merges

    async def _merge(self) -> bool:
        """Try a merge, if one is due after a round that gave something new; whether there was one to try."""
        is_due, self._is_fresh = self._is_fresh and self._due > 0, False
        merge = self._possible() if is_due else None
        if merge is None:
            return False
        self._done |= merge.marks
        population, ctx = self.population, self._ctx
        first, second = population[merge.first], population[merge.second]
        candidate = population[merge.ancestor].candidate.with_instructions(merge.texts)
        if candidate.key in population.keys:
            return False
        places = sampled(first.scores, second.scores, ctx.rng(f"sample/{self._round}"))
        scores = await ctx.evaluate(candidate, [ctx.val[place] for place in places])
        self.meter.take(len(places))
        if sum(scores.values) >= max(sum(one.scores[place] for place in places) for one in (first, second)):
            self._due, self._merged = self._due - 1, self._merged + 1
            parents = (merge.first, merge.second)
            await self._enter([self._considered(candidate, *parents)], [parents])
        return True

    def _possible(self) -> Merge | None:
        population = self.population
        if self.meter.left < len(self._ctx.val) + SAMPLE:
            return None
        members = population.members
        known = Lineage([one.texts for one in members], [one.parents for one in members], population.means)
        among = kept(population.fronts, known.means)
        return merge_of(known, among, self._done, self._ctx.rng(f"merge/{self._round}"))

    # Runs

    async def _run(self, pairs: Sequence[tuple[Candidate, Sequence[Example]]]) -> list[Scores]:
        """One wave of traced runs: the same ones serve when a child is a parent later."""
        self.meter.take(sum(len(examples) for _, examples in pairs))
        scores: list[Scores] = await self._ctx.evaluate_all(pairs, trace=True)
        return scores

    async def _enter(self, candidates: Sequence[Candidate], parents: Sequence[Sequence[int]]) -> None:
        """Score candidates on the valset, in one wave, and make them members."""
        val = self._ctx.val
        used = self.meter.used
        self.meter.take(len(candidates) * len(val))
        scores = await self._ctx.evaluate_all([(one, val) for one in candidates])
        for place, (one, found) in enumerate(zip(candidates, scores, strict=True)):
            self.population.add(one, found, parents[place], used + place * len(val))

    def _considered(self, candidate: Candidate, *parents: int) -> Candidate:
        meta = {"round": self._round + 1, "parents": list(parents)}
        above = [self.population[parent].candidate for parent in parents]
        label = "merge" if len(parents) > 1 else "reflection"
        made: Candidate = self._ctx.consider(candidate, f"{label} {self._round + 1}", above, meta)
        return made

    def _affordable(self, costs: Sequence[int]) -> int:
        """How many of these, in their order, the metric calls that are left cover."""
        left, count = self.meter.left, 0
        for cost in costs:
            left -= cost
            if left < 0:
                break
            count += 1
        return count
