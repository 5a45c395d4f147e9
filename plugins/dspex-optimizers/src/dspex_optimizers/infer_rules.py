"""Rules that a model reads out of the examples, added to the instructions."""

import math
from collections.abc import Mapping, Sequence
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
    OutputField,
    Range,
    Shape,
    Signature,
)
from dspex_optimizers.bootstrap import BootstrapFewShot
from dspex_optimizers.checks import at_least, needs_metric, racing
from dspex_optimizers.fitting import fitted

HEADING = "Keep to these rules:"
TOO_LONG = "ContextWindowExceeded"


class ReadRules(Signature):
    """Below are worked examples of a task. Write down the rules by which their outputs follow from their inputs, so that who
    has only the rules can do the task on new inputs. Each rule is short and can be followed, no two say the same, and none is
    about one example only.
    """

    examples_text: str = InputField()
    number_of_rules: int = InputField(desc="how many to write")
    reasoning: str = OutputField(desc="what the examples have in common, and where they differ")
    natural_language_rules: str = OutputField(desc="the rules, one a line")


class InferRules(BootstrapFewShot):
    """Bootstrapped demonstrations, and the best of `num_candidates` sets of `num_rules` rules read out of the trainset.

    Each set is asked for at temperature 1, of the model in `teacher_settings` if there is one, and stands below the
    instructions of its predictor. Examples that the model cannot read at once are left out from the last on. The valset, if
    none is given the latter half of the trainset, decides between the sets, the bootstrapped program without rules, and the
    student. The other arguments are BootstrapFewShot's; `race_z` drops what has clearly lost before it was run on all
    examples, None runs all on all.
    """

    def __init__(
        self,
        num_candidates: int = 10,
        num_rules: int = 10,
        num_threads: int | None = None,
        teacher_settings: Mapping[str, Any] | None = None,
        race_z: float | None = 2.4,
        **few_shot_bootstrap_args: Any,
    ) -> None:
        super().__init__(teacher_settings=teacher_settings, **few_shot_bootstrap_args)
        at_least(1, num_candidates=num_candidates, num_rules=num_rules, num_threads=num_threads)
        racing(race_z)
        self.num_candidates = num_candidates
        self.num_rules = num_rules
        self.num_threads = num_threads
        self.race_z = race_z

    def roles(self) -> dict[str, Mapping[str, Any]]:
        """The teacher's model reads the rules too."""
        return {**super().roles(), "prompt": self.teacher_settings or {}}

    def start(self, student: Module, *, trainset: Sequence[Example], **options: Any) -> Job:
        """Begin to compile, and return at once. Raises as BootstrapFewShot does, without a metric, and for one example."""
        needs_metric(self)
        return super().start(student, trainset=trainset, **options)

    def parts(self, train: list[Example], val: list[Example], rng: Any) -> tuple[list[Example], list[Example]]:
        """Examples to learn from and to decide on. Raises ConfigurationError where there are none for one of them."""
        if val:
            return train, val
        if len(train) < 2:
            raise ConfigurationError(
                f"InferRules decides on half of the trainset, which is not empty only from two examples on; there are {len(train)}. "
                "Give more, or a valset=."
            )
        half = len(train) // 2
        return train[:half], train[half:]

    def estimate(self, shape: Shape) -> Estimate:
        """The bootstrap, a question for each set and predictor, and all sets and two programs on the valset."""
        runs = (self.num_candidates + 2) * shape.val * shape.calls_per_run
        asked = Range(0, self.num_candidates * shape.predictors)
        return msgspec.structs.replace(super().estimate(shape), task=Range(0, runs), prompt=asked)

    def fit(self, shape: Shape, budget: Budget) -> "InferRules | None":
        """With as many sets of rules as the budget covers."""
        return fitted(self, shape, budget, num_candidates=range(self.num_candidates, 0, -1))

    async def run(self, ctx: Any) -> Candidate:
        """Bootstrap, ask for all rules side by side, and race."""
        student: Candidate = ctx.consider(ctx.student, "student")
        async with ctx.phase("bootstrap"):
            base = await self.bootstrapped(ctx, ctx.train, self.max_bootstrapped_demos, "bootstrap")
        worked = {
            path: worked_examples(ctx, base, path, predictor.signature)
            for path, predictor in ctx.program(base).named_predictors()
        }
        async with ctx.phase("rules", total=self.num_candidates * len(worked)):
            ruled = await ctx.gather(*(self.ruled(ctx, base, worked, sample) for sample in range(self.num_candidates)))
        programs = list({one.key: one for one in (student, base, *ruled)}.values())
        async with ctx.phase("search", total=len(programs) * len(ctx.val)):
            race = await ctx.race(programs, ctx.val, z=math.inf if self.race_z is None else self.race_z)
        winner: Candidate = race.winner
        return winner

    async def ruled(self, ctx: Any, base: Candidate, worked: Mapping[str, Sequence[str]], sample: int) -> Candidate:
        """The base with one set of rules; a predictor whose question fails stays as it is."""
        found = await ctx.gather(*(self.rules(ctx, texts, sample) for texts in worked.values()))
        told = {
            path: f"{base.predictors[path].instructions}\n\n{HEADING}\n{rules}"
            for path, rules in zip(worked, found, strict=True)
            if rules
        }
        made = base.with_instructions(told)
        return ctx.consider(made, f"rules {sample}", parents=[base], meta={"sample": sample}) if told else base

    async def rules(self, ctx: Any, texts: Sequence[str], sample: int) -> str:
        """Rules from as many of the examples, from the first on, as the model can read; "" where it gives none."""
        for count in range(len(texts), 0, -1):
            [reply] = await ctx.ask(
                ReadRules,
                sample=sample,
                temperature=1.0,
                examples_text="\n\n".join(texts[:count]),
                number_of_rules=self.num_rules,
            )
            if not isinstance(reply, Failure):
                return str(reply.natural_language_rules).strip()
            if reply.kind != TOO_LONG:
                break
        return ""


def worked_examples(ctx: Any, base: Candidate, path: str, signature: Any) -> list[str]:
    """The training examples as a predictor sees them: its fields by their labels, what these lack by a run that passed."""
    runs = {demo.origin: demo.fields for demo in base.predictors[path].demos if demo.augmented}
    texts = []
    for example in ctx.train:
        fields = {**runs.get(ctx.key_of(example), {}), **example.toDict()}
        sides = [[f"{name}: {fields[name]}" for name in side if name in fields] for side in
                 (signature.input_fields, signature.output_fields)]  # fmt: skip
        if sides[1]:
            texts.append("\n".join(["Inputs", *sides[0], "Outputs", *sides[1]]))
    return texts
