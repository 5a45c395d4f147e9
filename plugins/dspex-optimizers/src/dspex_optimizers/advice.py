"""Advice for the predictors of a program, from a good and a bad run on one example."""

import json
from collections.abc import Mapping
from typing import Any

from dspex import Candidate, Example, Failure, InputField, OutputField, Rollout, Signature
from dspex_optimizers.bucket import Bounds, Bucket

BLANK = "not available"


class CompareRuns(Signature):
    """A program of one or more modules, each a call of a language model, was run twice on one example; one run scored better.
    Find where the runs part and which module is to blame, and write for each module a rule that it will be given from now on,
    on other examples of this kind and without having seen these runs. A rule names what in the inputs it is about and what
    to do then. It is about that module's own part of the work, and says nothing that goes without saying. Leave out a module
    that needs none.
    """

    modules: str = InputField(desc="what each module is told to do, what it reads and what it writes")
    example_inputs: str = InputField()
    expected: str = InputField(desc="what is known of the right result; the program does not see it")
    worse_run: str = InputField(desc="each module's inputs and outputs, in order")
    worse_outputs: str = InputField()
    worse_score: str = InputField()
    worse_feedback: str = InputField(desc="what the metric said of it")
    better_run: str = InputField(desc="each module's inputs and outputs, in order")
    better_outputs: str = InputField()
    better_score: str = InputField()
    better_feedback: str = InputField(desc="what the metric said of it")
    discussion: str = OutputField(desc="where the runs part, and why")
    module_advice: dict[str, str] = OutputField(desc="module name: its rule")


def is_telling(bucket: Bucket, bounds: Bounds) -> bool:
    """Whether a rule can be drawn from it: a best run that is not among the worst of all, a worst not among the best."""
    return bucket.best.score > bounds.low and bucket.worst.score < bounds.high


async def advised(ctx: Any, candidate: Candidate, bucket: Bucket, bounds: Bounds) -> Candidate | None:
    """The candidate with a rule more in its instructions; None where the model gave no answer that can be read."""
    sides = {"better": bucket.best, "worse": bucket.worst}
    blank = ""
    if bucket.best.score <= bucket.worst.score:  # they are equals, and one of them is all that can be learnt from
        blank = "worse" if bucket.best.score > bounds.high else "better"
    shown = {
        name: value
        for side, run in sides.items()
        for name, value in (
            described(side, run) if side != blank else dict.fromkeys(described(side, run), BLANK)
        ).items()
    }
    [reply] = await ctx.ask(CompareRuns, modules=modules(ctx, candidate), **known(bucket.example), **shown)
    return None if isinstance(reply, Failure) else with_rules(candidate, reply.module_advice)


def with_rules(candidate: Candidate, rules: Mapping[str, str]) -> Candidate:
    """The candidate with each rule below the instructions of the predictor that it is for."""
    paths = list(candidate.predictors)
    if len(paths) == len(rules) == 1:
        rules = dict(zip(paths, rules.values(), strict=True))  # there is no doubt, whatever the model calls it
    told = {path: rules[path].strip() for path in paths if path in rules}
    return candidate.with_instructions(
        {path: f"{candidate.predictors[path].instructions}\n\n{rule}" for path, rule in told.items() if rule}
    )


def modules(ctx: Any, candidate: Candidate) -> str:
    """What is known of a program's predictors."""
    blocks = []
    for path, predictor in ctx.program(candidate).named_predictors():
        signature = predictor.signature
        sides = (("reads", signature.input_fields), ("writes", signature.output_fields))
        lines = [f"{verb} {', '.join(map(worded, fields.values()))}" for verb, fields in sides]
        blocks.append("\n".join([f"module {path}", *lines, f"is told: {signature.instructions}"]))
    return "\n\n".join(blocks)


def worded(field: Any) -> str:
    """A field with its type, and its description where it has one."""
    return f"{field.name} ({field.type_text}{f': {field.desc}' if field.desc else ''})"


def known(example: Example) -> dict[str, str]:
    """Inputs of an example, and the rest of it."""
    return {"example_inputs": as_text(example.inputs().toDict()), "expected": as_text(example.labels().toDict())}


def described(side: str, run: Rollout) -> dict[str, str]:
    """A run under the names of that side."""
    steps = [{"module": step.predictor, "inputs": step.inputs, "outputs": step.outputs} for step in run.trace or ()]
    return {
        f"{side}_run": as_text(steps),
        f"{side}_outputs": as_text(run.outputs) if run.ok else f"it failed: {run.error}",
        f"{side}_score": f"{run.score:g}",
        f"{side}_feedback": run.feedback or "nothing",
    }


def as_text(value: Any) -> str:
    """As indented JSON; what has no such form as its own text."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)
