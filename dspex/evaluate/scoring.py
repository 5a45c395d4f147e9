"""What a metric may return."""

import math
from collections.abc import Mapping
from typing import Any

from dspex.core.errors import EvaluationError
from dspex.core.example import Example


def normalized(result: Any) -> tuple[float, str | None]:
    """Score and feedback of what a metric returned: a number, a bool, Prediction(score=, feedback=) or a dictionary of these.

    Raises EvaluationError, naming what came, for anything else and for a number that is not finite.
    """
    kind = type(result)
    if kind is bool or kind is int or (kind is float and math.isfinite(result)):
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
