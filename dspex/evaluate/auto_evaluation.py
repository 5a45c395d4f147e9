"""DSPy's path of the metrics that ask a model."""

from dspex.evaluate.judges import CompleteAndGrounded, SemanticF1

__all__ = ["CompleteAndGrounded", "SemanticF1"]
