"""Ready metrics, and what a metric may return. Texts are compared by DSPy's normal form, mended for numbers."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dspex.core.errors import EvaluationError
from dspex.core.example import Example
from dspex.core.texts import comparable, normalize_text

__all__ = ["EM", "F1", "HotPotF1", "answer_exact_match", "answer_passage_match", "normalize_text", "normalized"]


def EM(prediction: Any, answers: Sequence[Any]) -> bool:  # noqa: N802  DSPy's name
    """Whether the prediction equals one of the answers in normal form; numbers keep their sign and point."""
    return any(_equal(prediction, answer) for answer in answers)


def F1(prediction: Any, answers: Sequence[Any]) -> float:  # noqa: N802  DSPy's name
    """The best harmonic mean of word precision and recall over the answers, 0..1."""
    return max((_f1(prediction, answer) for answer in answers), default=0.0)


def HotPotF1(prediction: Any, answers: Sequence[Any]) -> float:  # noqa: N802  DSPy's name
    """As F1, but "yes", "no" and "noanswer" score only against themselves."""
    return max((_hotpot_f1(prediction, answer) for answer in answers), default=0.0)


def answer_exact_match(example: Example, pred: Example, trace: Any = None, frac: float = 1.0) -> bool:  # noqa: ARG001
    """Whether `pred.answer` matches `example.answer`, a text or a list of right ones; below 1, `frac` is the least F1."""
    answers = _listed(example.answer)
    return EM(pred.answer, answers) if frac >= 1.0 else F1(pred.answer, answers) >= frac


def answer_passage_match(example: Example, pred: Example, trace: Any = None) -> bool:  # noqa: ARG001
    """Whether a passage of `pred.context` contains `example.answer`, a text or a list of right ones."""
    answers = [form for form in map(comparable, _listed(example.answer)) if form]
    passages = [f" {comparable(getattr(passage, 'text', passage))} " for passage in _listed(pred.context)]
    return any(f" {form} " in passage for form in answers for passage in passages)


def normalized(result: Any) -> tuple[float, str | None]:
    """Score and feedback of what a metric returned: a number, a bool, Prediction(score=, feedback=) or a dictionary of these.

    Raises EvaluationError, naming what came, for anything else and for a number that is not finite.
    """
    if type(result) is bool or type(result) is int:
        return float(result), None
    feedback, given = None, result
    if isinstance(result, Example | Mapping):
        feedback, given = result.get("feedback"), result.get("score")
    if isinstance(given, str) or not hasattr(given, "__float__") or not math.isfinite(score := float(given)):
        raise EvaluationError(
            f"The metric returned {result!r:.200} ({type(result).__name__}): it has to return a finite number, a bool or "
            f"Prediction(score=..., feedback=...)."
        )
    return score, feedback if feedback is None else str(feedback)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _equal(one: Any, other: Any) -> bool:
    if not (isinstance(one, str) and isinstance(other, str)):
        try:
            return float(one) == float(other)
        except (TypeError, ValueError):
            pass
    form = comparable(one)
    if not form:  # "A" and "the" have the same empty form: only the texts themselves can tell
        return str(one).strip().casefold() == str(other).strip().casefold()
    return form == comparable(other)


def _f1(one: Any, other: Any) -> float:
    words, wanted = Counter(comparable(one).split()), Counter(comparable(other).split())
    return 1.0 if _equal(one, other) else 2 * (words & wanted).total() / ((words + wanted).total() or 1)


def _hotpot_f1(one: Any, other: Any) -> float:
    forms = {comparable(one), comparable(other)}
    return 0.0 if len(forms) > 1 and not forms.isdisjoint({"yes", "no", "noanswer"}) else _f1(one, other)
