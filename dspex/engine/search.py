"""Searches made of evaluations: a race between candidates, and the first good runs of one."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

from dspex.core.candidate import Candidate, Rollout, Scores
from dspex.core.errors import ConfigurationError
from dspex.core.example import Example
from dspex.core.identity import digest
from dspex.engine.race import Race, block_size, leading, survivors

WINDOW = 16


class Searching(Protocol):
    """What a search needs of its context."""

    student: Candidate
    metric: Any

    @property
    def warm(self) -> Sequence[Rollout]:
        """Runs that are there already."""

    def key_of(self, example: Example) -> str:
        """An example's identity."""

    def derived(self, *labels: object) -> Any:
        """A stream of draws."""

    async def evaluate_all(
        self,
        pairs: Sequence[tuple[Candidate, Sequence[Example]]],
        *,
        trace: bool = False,
        sample: int = 0,
        temperature: float | None = None,
        role: str = "task",
    ) -> list[Scores]:
        """One wave."""


async def race(
    context: Searching,
    candidates: Sequence[Candidate],
    examples: Sequence[Example],
    *,
    z: float,
    block: int | None,
    keep: int,
) -> Race:
    """Evaluate block by block, and drop what has clearly lost; `z` infinite keeps all to the end, in one wave."""
    if not candidates:
        raise ConfigurationError("ctx.race was given no candidates.")
    order = list(examples)
    context.derived("race", digest(sorted(map(context.key_of, order)))).shuffle(order)
    width = len(order) if math.isinf(z) else block or block_size(len(order))
    rows: list[list[Rollout]] = [[] for _ in candidates]
    alive = list(range(len(candidates)))
    for start in range(0, len(order), width):
        wave = await context.evaluate_all([(candidates[row], order[start : start + width]) for row in alive])
        for row, scores in zip(alive, wave, strict=True):
            rows[row] += scores.rows
        left = survivors([[one.score for one in rows[row]] for row in alive], z, keep)
        alive = [row for at, row in enumerate(alive) if at in left or candidates[row].key == context.student.key]
    winner = leading([[one.score for one in row] for row in rows], alive)
    dropped = tuple(row for row in range(len(candidates)) if row not in alive)
    return Race(candidates[winner], tuple(candidates), tuple(Scores(tuple(row)) for row in rows), dropped)


async def collect(
    context: Searching,
    candidate: Candidate,
    examples: Sequence[Example],
    want: int,
    *,
    role: str,
    rounds: int,
    ahead: bool,
) -> list[Rollout]:
    """The first `want` passing rollouts, those of a warm start first, then in example order.

    With `ahead` examples are run that may not be needed.
    """
    passed = _warm(context, examples)[:want]
    given, at = len(passed), 0
    while len(passed) < want and at < len(examples):
        need = want - len(passed)
        window = examples[at : at + (_likely(need, len(passed) - given, at) if ahead else need)]
        at += len(window)
        got: dict[int, Rollout] = {}
        for sample in range(rounds):
            todo = [row for row in range(len(window)) if row not in got]
            pairs = [(_without(candidate, context.key_of(window[row])), [window[row]]) for row in todo]
            warm = 1.0 if sample else None
            wave = await context.evaluate_all(pairs, trace=True, sample=sample, temperature=warm, role=role)
            got |= {row: s.rows[0] for row, s in zip(todo, wave, strict=True) if context.metric.passes(s.rows[0])}
        passed += [got[row] for row in sorted(got)]
    return passed[:want]


def _warm(context: Searching, examples: Sequence[Example]) -> list[Rollout]:
    """Good runs that are there already, in an order that follows from that of the examples."""
    good = [one for one in context.warm if context.metric.passes(one)]
    context.derived("warm", digest([context.key_of(one) for one in examples])).shuffle(good)
    return good


def _likely(need: int, passed: int, tried: int) -> int:
    """How many examples to run for `need` good runs: as many as give them on average, and one standard deviation more.

    Without the latter half of all windows would fall short, and each costs a call's time; a window more costs a few calls.
    """
    share = (passed + 1) / (tried + 2)
    return min(WINDOW, max(need, math.ceil((need + math.sqrt(need * (1 - share))) / share)))


def _without(candidate: Candidate, origin: str) -> Candidate:
    """The candidate without demos made of that example."""
    changed = {
        path: tuple(demo for demo in state.demos if demo.origin != origin)
        for path, state in candidate.predictors.items()
        if any(demo.origin == origin for demo in state.demos)
    }
    return candidate.with_demos(changed, keep_selector=True) if changed else candidate
