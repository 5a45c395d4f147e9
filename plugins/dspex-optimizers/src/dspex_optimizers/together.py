"""Optimizers one after another, each from what the one before has made."""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from dspex import (
    Budget,
    Candidate,
    ConfigurationError,
    Estimate,
    EvaluationError,
    Example,
    Job,
    Module,
    Optimizer,
    Quote,
    Range,
    Shape,
)
from dspex_optimizers.finetune import BootstrapFinetune
from dspex_optimizers.search import BootstrapFewShotWithRandomSearch

ARROW = " -> "
DATA = ("trainset", "valset", "teacher")


class NoOptimizer(ConfigurationError, TypeError):
    """Something that can be no step of a chain."""


class BetterTogether(Optimizer):
    """A chain of optimizers, `strategy="p -> w -> p"`, of which the best program on the valset is returned (2407.10930).

    The keywords name the optimizers; without any, `p` is a random search and `w` trains the model. Without a valset it is the first `valset_ratio` of the trainset; with `valset_ratio=0`
    nothing is scored, and the last program is returned. Each step has the trainset in another order, unless
    `shuffle_trainset_between_steps=False`. `optimizer_compile_args` has compile's arguments by name, `trainset`, `valset` and
    `teacher` among them. A step that fails ends the chain: what was made before it counts, the evidence says so, and
    the program's `flag_compilation_error_occurred` is True.
    """

    compile_arguments = MappingProxyType(
        {
            "valset_ratio": 0.1,
            "shuffle_trainset_between_steps": True,
            "strategy": "p -> w -> p",
            "optimizer_compile_args": None,
            "provide_traceback": None,
        }
    )
    takes_teachers = True

    def __init__(self, metric: Any, **optimizers: Optimizer) -> None:
        for name, one in optimizers.items():
            if not isinstance(one, Optimizer):
                raise NoOptimizer(
                    f"BetterTogether({name}=...): it must be a Teleprompter, a dspex.Optimizer, not {one!r:.80}."
                )
            if type(one).run is Optimizer.run:
                raise NoOptimizer(
                    f"BetterTogether({name}=...): {type(one).__name__} has no `run`, and a `compile` of its own can be no "
                    "step of a run that is journalled and kept within a budget: call it before or after, or give it a `run`."
                )
        self.metric = metric
        self.optimizers: dict[str, Optimizer] = optimizers or defaults(metric)
        self._teachers: Mapping[str, tuple[int, int]] = {}  # of the compile at hand

    # Before anything is paid

    def start(self, student: Module, *, trainset: Sequence[Example], seed: int | None = None, **options: Any) -> Job:
        """Begin to compile, and return at once. Raises ConfigurationError for a strategy of unknown names."""
        planned, given = self._planned(trainset, options)
        return super(BetterTogether, planned).start(student, seed=seed or 0, **given)

    def quote(self, student: Module, *, trainset: Sequence[Example], **options: Any) -> Quote:
        """What `compile` with the same arguments may cost at most."""
        planned, given = self._planned(trainset, options)
        return super(BetterTogether, planned).quote(student, **given)

    def _planned(
        self, trainset: Sequence[Example], options: Mapping[str, Any]
    ) -> tuple["BetterTogether", dict[str, Any]]:
        """This optimizer with the steps of one compile, and the arguments of that: data parted, all teachers in one list."""
        given = {**self.compile_arguments, **options}
        self._checked(given)
        train, ratio = list(trainset), given["valset_ratio"]
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio < 1:
            raise ConfigurationError(f"valset_ratio={ratio!r}: from 0 to below 1.")
        if not given.get("valset"):
            count = int(ratio * len(train))
            train, val = self.whole_groups(train[count:], train[:count], given.get("group"))
            given["valset"] = val or None
            given["valset_ratio"] = ratio if count else 0
        planned, teachers = self._taught(listed(given.get("teacher")), given["optimizer_compile_args"] or {})
        return planned, {**given, "trainset": train, "teacher": teachers or None}

    def _taught(
        self, main: Sequence[Module], arguments: Mapping[str, Mapping[str, Any]]
    ) -> tuple["BetterTogether", list[Module]]:
        """This optimizer with who teaches each step, and all these teachers in one list: the chain's, then those of its steps."""
        planned, teachers = copy.copy(self), list(main)
        planned.optimizers, planned._teachers = dict(self.optimizers), {"": (0, len(main))}
        for name, more in arguments.items():
            inner, own = self.optimizers[name], listed(more.get("teacher"))
            deeper = more.get("optimizer_compile_args")
            if isinstance(inner, BetterTogether) and deeper:
                planned.optimizers[name], own = inner._taught(own or main, deeper)
            planned._teachers[name] = (len(teachers), len(teachers) + len(own)) if own else (0, len(main))
            teachers += own
        return planned, teachers

    def _checked(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """The names of the strategy. Raises ConfigurationError for an unknown one, or arguments that its compile does not have."""
        strategy, more = arguments["strategy"], arguments["optimizer_compile_args"] or {}
        if not isinstance(strategy, str):
            raise ConfigurationError(f'strategy={strategy!r:.80}: names with arrows between them, as "p -> w -> p".')
        steps = tuple(name.strip() for name in strategy.split(ARROW.strip()))
        unknown = [name for name in (*steps, *more) if name not in self.optimizers]
        if unknown:
            known = ", ".join(self.optimizers)
            raise ConfigurationError(
                f"strategy={strategy!r}: {unknown[0]!r} is no optimizer of this one; they are {known}."
            )
        for name, given in more.items():
            optimizer = self.optimizers[name]
            for word in given.keys() - {*DATA, *optimizer.compile_arguments}:
                raise ConfigurationError(
                    f"optimizer_compile_args[{name!r}]: {type(optimizer).__name__}.compile has no argument {word!r} here."
                )
        return steps

    def estimate(self, shape: Shape) -> Estimate:
        """The sum of the steps', and each program on the valset."""
        steps = self._checked({**self.compile_arguments, **shape.arguments})
        parts = [self.optimizers[name].estimate(self._shape(shape, name)) for name in steps]
        scores = (len(parts) + 1) * shape.val * shape.calls_per_run
        parts.append(Estimate(task=Range(scores, scores)))
        return Estimate(
            total(one.task for one in parts),
            total(one.prompt for one in parts),
            total(one.teacher for one in parts),
            total(one.reflection for one in parts),
            usd=sum(one.usd for one in parts),
        )

    def fit(self, shape: Shape, budget: Budget) -> "BetterTogether | None":
        """With each optimizer made to fit its share of the calls that the scores leave, and those that cannot do with less."""
        if budget.calls is None:
            return None
        smaller, steps = copy.copy(self), Counter(self._checked({**self.compile_arguments, **shape.arguments}))
        smaller.optimizers = dict(self.optimizers)
        shapes = {name: self._shape(shape, name) for name in steps}
        most = {name: self.optimizers[name].estimate(shapes[name]).high for name in steps}
        fixed = {name for name in steps if fit_to(self.optimizers[name], shapes[name], most[name] - 1) is None}
        left = budget.calls - shape.evidence_calls - (1 + steps.total()) * shape.val * shape.calls_per_run
        wanted = sum(steps[name] * most[name] for name in steps)
        for name in sorted(steps, key=lambda name: name not in fixed):
            made = fit_to(self.optimizers[name], shapes[name], left * most[name] // max(1, wanted))
            smaller.optimizers[name] = made or self.optimizers[name]
            left -= steps[name] * smaller.optimizers[name].estimate(shapes[name]).high
            wanted -= steps[name] * most[name]
        return smaller

    def _shape(self, shape: Shape, name: str) -> Shape:
        more = (shape.arguments.get("optimizer_compile_args") or {}).get(name, {})
        first, last = self._teachers_of(name, shape.teachers)
        own = {word: value for word, value in more.items() if word not in DATA}
        return msgspec.structs.replace(
            shape,
            train=size(more.get("trainset")) or shape.train,
            val=size(more.get("valset")) or shape.val,
            held=0,
            arguments={**self.optimizers[name].compile_arguments, **own},
            teachers=last - first,
        )

    def _teachers_of(self, name: str, count: int) -> tuple[int, int]:
        """Which of all teachers are a step's: its own, else those of the chain; inside another chain all of them."""
        return self._teachers.get(name) or self._teachers.get("", (0, count))

    # The algorithm

    async def run(self, ctx: Any) -> Candidate:
        """Score the student, then make and score one program after another."""
        steps, is_scored = self._checked(ctx.arguments), ctx.arguments["valset_ratio"] != 0
        best: Candidate = ctx.consider(ctx.student, "student", meta={"strategy": ""})
        current, top, failed = best, await scored(ctx, best, "student") if is_scored else 0.0, False
        for place, name in enumerate(steps):
            done = ARROW.join(steps[: place + 1])
            try:
                current = await self._step(ctx, place, name, current, {"strategy": done})
            except EvaluationError as error:
                failed = True
                ctx.note(f"step {place + 1} of {len(steps)} failed, and ended the chain: {error}")
                break
            mean = await scored(ctx, current, done) if is_scored else top
            if not is_scored or mean > top:
                best, top = current, mean
        ctx.attach(flag_compilation_error_occurred=failed)
        return best

    async def _step(self, ctx: Any, place: int, name: str, current: Candidate, meta: Mapping[str, Any]) -> Candidate:
        optimizer, more = self.optimizers[name], dict((ctx.arguments["optimizer_compile_args"] or {}).get(name, {}))
        train, val = list(more.pop("trainset", None) or ctx.train), more.pop("valset", None)
        more.pop("teacher", None)
        if ctx.arguments["shuffle_trainset_between_steps"]:
            ctx.rng(f"step/{place}").shuffle(train)
        first, last = self._teachers_of(name, len(ctx.teachers))
        teachers = ctx.teachers[first : last if optimizer.takes_teachers else min(last, first + 1)]
        if val is None and ctx.arguments["valset_ratio"] != 0:
            val = ctx.val
        made = await ctx.compile(
            optimizer, current, label=f"step {place + 1}", train=train, val=val, teacher=teachers, meta=meta, **more
        )
        return ctx.consider(made, meta["strategy"], [current], meta)  # type: ignore[no-any-return]  # it is what was given


def defaults(metric: Any) -> dict[str, Optimizer]:
    """DSPy's: prompts by random search, weights by training."""
    return {"p": BootstrapFewShotWithRandomSearch(metric), "w": BootstrapFinetune(metric)}


async def scored(ctx: Any, candidate: Candidate, name: str) -> float:
    """Mean score on the validation examples."""
    async with ctx.phase(f"score of {name}", total=len(ctx.val)):
        return (await ctx.evaluate(candidate, ctx.val)).mean  # type: ignore[no-any-return]  # a mean is a float


def fit_to(optimizer: Optimizer, shape: Shape, calls: int) -> Optimizer | None:
    """The optimizer with settings that so many calls suffice for; None where it has none."""
    return optimizer.fit(shape, Budget(calls=max(0, calls), on_short="fit"))


def total(given: Iterable[Range]) -> Range:
    """Bounds of a sum."""
    ranges = list(given)
    return Range(sum(one.low for one in ranges), sum(one.high for one in ranges))


def listed(given: Any) -> list[Module]:
    """One, several or no teachers."""
    return [] if given is None else [given] if isinstance(given, Module) else list(given)


def size(examples: Sequence[Example] | None) -> int | None:
    """How many there are, None where none are given."""
    return len(examples) if examples else None
