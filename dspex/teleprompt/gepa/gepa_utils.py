"""DSPy's path of what a metric gives GEPA, and of the types of what GEPA gives."""

from typing import Any, TypedDict

from dspex.core.example import Prediction
from dspex.core.example import Prediction as ScoreWithFeedback

__all__ = ["DSPyTrace", "ReflectiveExample", "ScoreWithFeedback"]

DSPyTrace = list[tuple[Any, dict[str, Any], Prediction]]
ReflectiveExample = TypedDict(
    "ReflectiveExample", {"Inputs": dict[str, Any], "Generated Outputs": dict[str, Any] | str, "Feedback": str}
)
