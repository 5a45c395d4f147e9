"""DSPy's path of GEPA, of what it finds, and of what its metric is."""

from typing import Protocol

from dspex.core.example import Example
from dspex.teleprompt import __getattr__
from dspex.teleprompt.gepa.gepa_utils import DSPyTrace, ScoreWithFeedback

__all__ = ["GEPAFeedbackMetric", "__getattr__"]


class GEPAFeedbackMetric(Protocol):
    """A metric of GEPA: of a whole program, or of one of its predictors where that is named."""

    def __call__(
        self,
        gold: Example,
        pred: Example,
        trace: DSPyTrace | None,
        pred_name: str | None,
        pred_trace: DSPyTrace | None,
    ) -> float | ScoreWithFeedback:
        """A score, or a Prediction with `score` and `feedback`."""
        ...
