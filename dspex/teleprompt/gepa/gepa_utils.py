"""DSPy's path of what a metric gives GEPA."""

from dspex.core.example import Prediction as ScoreWithFeedback

__all__ = ["ScoreWithFeedback"]
