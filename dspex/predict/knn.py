"""DSPy's path of KNN."""

from dspex.program.knn import KNN

__all__ = ["KNN"]
