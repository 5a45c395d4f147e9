"""Ready metrics. Texts are compared by DSPy's normal form, mended for numbers."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dspex.core.example import Example
from dspex.core.texts import comparable, normalize_text
from dspex.evaluate.scoring import normalized

__all__ = [
    "EM",
    "F1",
    "HotPotF1",
    "answer_exact_match",
    "answer_passage_match",
    "em_score",
    "f1_score",
    "hotpot_f1_score",
    "normalize_text",
    "normalized",
    "precision_score",
]


def EM(prediction: Any, answers_list: Sequence[Any]) -> bool:  # noqa: N802  DSPy's name
    """Whether the prediction equals one of the answers in normal form; numbers keep their sign and point."""
    return any(em_score(prediction, answer) for answer in answers_list)


def F1(prediction: Any, answers_list: Sequence[Any]) -> float:  # noqa: N802  DSPy's name
    """The best harmonic mean of word precision and recall over the answers, 0..1."""
    return max((f1_score(prediction, answer) for answer in answers_list), default=0.0)


def HotPotF1(prediction: Any, answers_list: Sequence[Any]) -> float:  # noqa: N802  DSPy's name
    """As F1, but "yes", "no" and "noanswer" score only against themselves."""
    return max((hotpot_f1_score(prediction, answer) for answer in answers_list), default=0.0)


def answer_exact_match(example: Example, pred: Example, trace: Any = None, frac: float = 1.0) -> bool:  # noqa: ARG001
    """Whether `pred.answer` matches `example.answer`, a text or a list of right ones; below 1, `frac` is the least F1."""
    answers = _listed(example.answer)
    return EM(pred.answer, answers) if frac >= 1.0 else F1(pred.answer, answers) >= frac


def answer_passage_match(example: Example, pred: Example, trace: Any = None) -> bool:  # noqa: ARG001
    """Whether a passage of `pred.context` contains `example.answer`, a text or a list of right ones."""
    answers = [form for form in map(comparable, _listed(example.answer)) if form]
    passages = [f" {comparable(getattr(passage, 'text', passage))} " for passage in _listed(pred.context)]
    return any(f" {form} " in passage for form in answers for passage in passages)


def em_score(prediction: Any, answer: Any) -> bool:
    """Whether two answers are equal in normal form; numbers keep their sign and point."""
    if not (isinstance(prediction, str) and isinstance(answer, str)):
        try:
            return float(prediction) == float(answer)
        except (TypeError, ValueError):
            pass
    form = comparable(prediction)
    if not form:  # "A" and "the" have the same empty form: only the texts themselves can tell
        return str(prediction).strip().casefold() == str(answer).strip().casefold()
    return form == comparable(answer)


def f1_score(prediction: Any, answer: Any) -> float:
    """The harmonic mean of word precision and recall, 0..1; 1 for equal answers."""
    words, wanted = Counter(comparable(prediction).split()), Counter(comparable(answer).split())
    return 1.0 if em_score(prediction, answer) else 2 * (words & wanted).total() / ((words + wanted).total() or 1)


def hotpot_f1_score(prediction: Any, answer: Any) -> float:
    """As `f1_score`, but "yes", "no" and "noanswer" score only against themselves."""
    forms = {comparable(prediction), comparable(answer)}
    return 0.0 if len(forms) > 1 and not forms.isdisjoint({"yes", "no", "noanswer"}) else f1_score(prediction, answer)


def precision_score(prediction: Any, answer: Any) -> float:
    """The share of the prediction's words that the answer has too, 0..1."""
    words = Counter(comparable(prediction).split())
    return (words & Counter(comparable(answer).split())).total() / (words.total() or 1)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]
