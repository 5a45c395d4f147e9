"""DSPy's path of DataLoader."""

from dspex.evaluate.datasets import DataLoader

__all__ = ["DataLoader"]
