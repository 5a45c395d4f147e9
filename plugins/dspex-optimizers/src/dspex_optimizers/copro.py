"""Coordinate descent over instructions: a model proposes some, sees how they scored, and proposes others."""

import copy
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from dspex import (
    Budget,
    Candidate,
    ConfigurationError,
    Estimate,
    Example,
    Failure,
    InputField,
    Job,
    Module,
    Optimizer,
    OutputField,
    Range,
    Shape,
    Signature,
)
from dspex_optimizers.checks import at_least, is_model, needs_metric, no_teacher, not_negative
from dspex_optimizers.fitting import fitted
from dspex_optimizers.round_statistics import Statistics

MARKER = re.compile(r"\[\[ ## \w+ ## \]\]")
ACTS = ("num_threads", "max_errors", "failure_score")  # of an Evaluate's keywords
SHOWS = frozenset({"display_progress", "display_table", "provide_traceback"})


class FirstProposal(Signature):
    """Below is the instruction that a language model is given for a task. Write a better one: say plainly what to do, what to
    pay attention to in the inputs, and what a right answer looks like. Keep every condition that it has now.
    """

    basic_instruction: str = InputField(desc="the instruction as it is")
    proposed_instruction: str = OutputField(desc="the new instruction, whole and ready for use")


class NextProposal(Signature):
    """Below are instructions that were tried for one task, each behind the score that it got, the lowest first. Find out what
    sets the good ones apart, and write a new instruction that should score higher than all of them.
    """

    attempted_instructions: list[str] = InputField(desc="score in per cent: instruction")
    proposed_instruction: str = OutputField(desc="the new instruction, whole and ready for use")


class Attempt(msgspec.Struct, frozen=True):
    """The best that one instruction of a predictor has shown: the program that had it, and its score in per cent."""

    candidate: Candidate
    score: float


class COPRO(Optimizer):
    """Instructions that a model proposes, tried predictor by predictor; later proposals see the earlier ones' scores.

    Each predictor gets `breadth` instructions, its own and proposals at temperature `init_temperature`, then `breadth` more in
    each of the `depth` rounds that follow the first; a proposal with nothing in it is the instruction of a signature that has
    none. They are scored on the valset, which is the trainset unless given, with the best instructions so far in the other
    predictors. `prompt_model` proposes; None is the program's model. The program has `total_calls`, the number of programs that
    were scored; with `track_stats` also `results_best` and `results_latest`, by predictor. `race` ends the runs of an
    instruction that has clearly lost. After OPRO, arXiv 2309.03409.
    """

    compile_arguments = MappingProxyType({"eval_kwargs": None})

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        prompt_model: Any = None,
        metric: Any = None,
        breadth: int = 10,
        depth: int = 3,
        init_temperature: float = 1.4,
        track_stats: bool = False,
        race: bool = False,
    ) -> None:
        at_least(2, breadth=breadth)
        at_least(1, depth=depth)
        not_negative(init_temperature=init_temperature)
        is_model(prompt_model=prompt_model)
        self.prompt_model = prompt_model
        self.metric = metric
        self.breadth = breadth
        self.depth = depth
        self.init_temperature = init_temperature
        self.track_stats = track_stats
        self.race = race

    def start(
        self,
        student: Module,
        *,
        trainset: Sequence[Example],
        eval_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Job:
        """Begin to compile, and return at once.

        Of `eval_kwargs`, the keywords of an Evaluate, those about its display do nothing here. Raises ConfigurationError
        without a metric, for a teacher, and for keywords that a compile cannot follow.
        """
        needs_metric(self)
        no_teacher(self, options, "prompt_model")
        if not isinstance(eval_kwargs, Mapping | None):
            raise ConfigurationError(f"eval_kwargs={eval_kwargs!r:.80}: keywords of an Evaluate, by name.")
        given = dict(eval_kwargs or {})
        if unknown := sorted(given.keys() - {*ACTS, *SHOWS}):
            raise ConfigurationError(f"eval_kwargs={unknown}: a compile follows {', '.join((*ACTS, *sorted(SHOWS)))}.")
        optimizer = copy.copy(self)
        optimizer.failure_score = given.pop("failure_score", self.failure_score)
        acts = {name: given[name] for name in ACTS if name in given}
        return super(COPRO, optimizer).start(student, trainset=trainset, **{**acts, **options})

    def estimate(self, shape: Shape) -> Estimate:
        """Programs on each example; proposals one by one, and once more where several in one reply cannot be read."""
        rounds = self.depth if shape.predictors == 1 else shape.predictors * self.depth * (self.depth + 1) // 2
        runs = rounds * self.breadth * shape.val * shape.calls_per_run
        asked = shape.predictors * (self.depth * self.breadth - 1 + self.depth)
        return Estimate(task=Range(0, runs), prompt=Range(0, asked))

    def fit(self, shape: Shape, budget: Budget) -> "COPRO | None":
        """With as many rounds and proposals as the budget covers."""
        return fitted(self, shape, budget, depth=range(self.depth, 0, -1), breadth=range(self.breadth, 1, -1))

    async def run(self, ctx: Any) -> Candidate:
        """Rounds of proposals; in each, the predictors one after another."""
        current: Candidate = ctx.student
        texts: dict[str, list[str]] = {path: [] for path in current.predictors}
        tried: dict[str, dict[str, Attempt]] = {path: {} for path in texts}
        told = Statistics(ctx, texts, self.track_stats)
        for depth in range(self.depth):
            async with ctx.phase(f"proposals {depth + 1} of {self.depth}"):
                latest = await ctx.gather(*(self.proposals(ctx, path, tried[path], depth) for path in texts))
            async with ctx.phase(f"round {depth + 1} of {self.depth}"):
                for path, new in zip(texts, latest, strict=True):
                    texts[path] += [text for text in new if text not in texts[path]]
                    # The other predictors have changed since; of one alone a score holds.
                    todo = texts[path] if len(texts) > 1 else new
                    made = await self.scored(ctx, current, path, todo, depth)
                    keep_best(tried[path], made)
                    current = current.with_instructions({path: best(tried[path].items())[0]})
                    told.count(path, depth, len(todo), [made[text].score for text in new if text in made])
                    told.sum_up(path, depth, [one.score for one in tried[path].values()])
        return best(pair for attempts in tried.values() for pair in attempts.items())[1].candidate

    async def proposals(self, ctx: Any, path: str, tried: Mapping[str, Attempt], depth: int) -> list[str]:
        """New instructions for a predictor, and at the first time its own, last."""
        [unwritten] = [
            info.signature.with_instructions("").instructions for info in ctx.predictors if info.name == path
        ]
        if not tried:
            own = ctx.student.predictors[path].instructions
            asked = await self.asked(ctx, FirstProposal, self.breadth - 1, depth, basic_instruction=own)
            return list(dict.fromkeys([*(text or unwritten for text in asked), own]))
        ranked = sorted(tried.items(), key=lambda pair: -pair[1].score)[: self.breadth]
        shown = [f"{attempt.score:.2f}: {text}" for text, attempt in reversed(ranked)]
        asked = await self.asked(ctx, NextProposal, self.breadth, depth, attempted_instructions=shown)
        return [text for text in dict.fromkeys(text or unwritten for text in asked) if text not in tried]

    async def asked(self, ctx: Any, signature: Any, count: int, depth: int, **inputs: Any) -> list[str]:
        """Up to `count` instructions: in one reply where the wire has several, and without those that cannot be read."""
        warm = {"temperature": self.init_temperature, **inputs}
        first = (
            depth * self.breadth
        )  # where the last round changed nothing the question is the same, and not the answer
        replies = []
        if ctx.capabilities["prompt"].n:
            replies = await ctx.ask(signature, n=count, sample=first, **warm)
            # One reply that cannot be read must not take the others with it.
            if isinstance(replies[0], Failure) and replies[0].kind == "AdapterParseError":
                replies = []
        if not replies:
            samples = range(first, first + count)
            alone = await ctx.gather(*(ctx.ask(signature, sample=sample, **warm) for sample in samples))
            replies = [reply for [reply] in alone]
        told = [reply.proposed_instruction for reply in replies if not isinstance(reply, Failure)]
        # What stands behind a marker is a field that was not asked for: models know DSPy's, which has a prefix too.
        return [MARKER.split(text)[0].strip(' \n"') for text in told]

    async def scored(
        self, ctx: Any, current: Candidate, path: str, texts: Sequence[str], depth: int
    ) -> dict[str, Attempt]:
        """The current program with each of these instructions, on all examples; without those that lost a race."""
        programs = [
            ctx.consider(
                current.with_instructions({path: text}),
                f"round {depth + 1}, {path} {place}",
                parents=[current],
                meta={"depth": depth, "predictor": path, "instruction": text},
            )
            for place, text in enumerate(texts)
        ]
        if self.race and len(programs) > 1:
            scores = (await ctx.race(programs, ctx.val)).scores
        else:
            scores = await ctx.evaluate_all([(program, ctx.val) for program in programs])
        rows = zip(texts, programs, scores, strict=True)
        return {text: Attempt(program, 100 * one.mean) for text, program, one in rows if len(one) == len(ctx.val)}


def keep_best(tried: dict[str, Attempt], made: Mapping[str, Attempt]) -> None:
    """Note what was scored; of an instruction scored in several programs the first best one stays."""
    for text, attempt in made.items():
        if text not in tried or attempt.score > tried[text].score:
            tried[text] = attempt


def best(attempts: Any) -> tuple[str, Attempt]:
    """The pair of instruction and attempt with the highest score; the first of equals."""
    pairs = list(attempts)
    return max(pairs, key=lambda pair: pair[1].score)  # type: ignore[no-any-return]  # pairs of what was given
