"""Metrics that ask a model: modules, scored sync or async, with prompts of their own.

Their LM is that of the settings, `Evaluate(judge_lm=...)`'s, or what `set_lm` gives them.
"""

from typing import Any

from dspex.core.example import Example, Prediction
from dspex.program.chain_of_thought import ChainOfThought
from dspex.program.fields import InputField, OutputField
from dspex.program.module import Module
from dspex.program.signature import Signature

SHARE = "a number from 0 to 1"


class Coverage(Signature):
    """Compare a response with a reference answer to the same question, by what they say and not by how they say it.

    A statement counts as shared if both make it, in whatever words. Ignore style, order and length.
    """

    question: str = InputField()
    ground_truth: str = InputField(desc="the reference answer, taken as true")
    system_response: str = InputField(desc="the response to be judged")
    recall: float = OutputField(desc=f"the share of the reference's statements that the response makes, {SHARE}")
    precision: float = OutputField(desc=f"the share of the response's statements that the reference makes, {SHARE}")


class CoverageByStatement(Signature):
    """Compare a response with a reference answer to the same question, statement by statement.

    List what each of the two says as separate short statements, say which of them occur in the other, and count.
    """

    question: str = InputField()
    ground_truth: str = InputField(desc="the reference answer, taken as true")
    system_response: str = InputField(desc="the response to be judged")
    ground_truth_key_ideas: str = OutputField(desc="the reference's statements, one a line")
    system_response_key_ideas: str = OutputField(desc="the response's statements, one a line")
    discussion: str = OutputField(desc="which statements occur in both")
    recall: float = OutputField(desc=f"the share of the reference's statements that the response makes, {SHARE}")
    precision: float = OutputField(desc=f"the share of the response's statements that the reference makes, {SHARE}")


class Completeness(Signature):
    """Judge how much of a reference answer a response covers.

    List what each of the two says as separate short statements, and count the reference's that the response makes too.
    What the response says beyond the reference does not matter here.
    """

    question: str = InputField()
    ground_truth: str = InputField(desc="the reference answer, taken as true")
    system_response: str = InputField(desc="the response to be judged")
    ground_truth_key_ideas: str = OutputField(desc="the reference's statements, one a line")
    system_response_key_ideas: str = OutputField(desc="the response's statements, one a line")
    discussion: str = OutputField(desc="which of the reference's statements the response makes")
    completeness: float = OutputField(desc=f"the share of the reference's statements that the response makes, {SHARE}")


class Groundedness(Signature):
    """Judge how much of a response is supported by the passages that were retrieved for it.

    List the response's claims and count those that follow from the passages, or are common knowledge that nobody would
    look up. A claim that may be true but stands in no passage is not supported.
    """

    question: str = InputField()
    retrieved_context: str = InputField(desc="the passages")
    system_response: str = InputField(desc="the response to be judged")
    system_response_claims: str = OutputField(desc="the response's claims, one a line")
    discussion: str = OutputField(desc="which claims the passages support")
    groundedness: float = OutputField(desc=f"the share of the claims that are supported, {SHARE}")


class SemanticF1(Module):
    """How well `pred.response` agrees with `example.response` on `example.question`: harmonic mean of recall and precision.

    Gives `Prediction(score=)`: 0..1, or, when a trace is given, whether that reaches `threshold`. `decompositional` has the
    judge list statements first: dearer, and steadier on long answers.
    """

    lower, upper = 0.0, 1.0

    def __init__(self, threshold: float = 0.66, decompositional: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.module: Any = ChainOfThought(CoverageByStatement if decompositional else Coverage)

    async def aforward(self, example: Example, pred: Example, trace: Any = None) -> Prediction:
        """The judge's verdict on one prediction."""
        found = await self.module.acall(
            question=example.question, ground_truth=example.response, system_response=pred.response
        )
        return _prediction(found.precision, found.recall, None if trace is None else self.threshold)


class CompleteAndGrounded(Module):
    """Harmonic mean of how complete `pred.response` is against `example.response`, and how grounded in `pred.context`.

    Asks two judges; gives what SemanticF1 gives.
    """

    lower, upper = 0.0, 1.0

    def __init__(self, threshold: float = 0.66) -> None:
        super().__init__()
        self.threshold = threshold
        self.completeness_module: Any = ChainOfThought(Completeness)
        self.groundedness_module: Any = ChainOfThought(Groundedness)

    async def aforward(self, example: Example, pred: Example, trace: Any = None) -> Prediction:
        """The judges' verdict on one prediction."""
        asked = {"question": example.question, "system_response": pred.response}
        complete = await self.completeness_module.acall(**asked, ground_truth=example.response)
        grounded = await self.groundedness_module.acall(**asked, retrieved_context=_text(pred.context))
        return _prediction(grounded.groundedness, complete.completeness, None if trace is None else self.threshold)


def _prediction(one: float, other: float, threshold: float | None) -> Prediction:
    one, other = (min(1.0, max(0.0, share)) for share in (one, other))
    score = 2 * one * other / (one + other) if one + other else 0.0
    return Prediction(score=score if threshold is None else score >= threshold)


def _text(context: Any) -> str:
    passages = context if isinstance(context, list | tuple) else [context]
    return "\n\n".join(f"[{number}] {getattr(one, 'text', one)}" for number, one in enumerate(passages, 1))
