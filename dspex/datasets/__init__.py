"""DSPy's place for what reads datasets: `from dspex.datasets import DataLoader`."""

from dspex.evaluate.datasets import DataLoader, load_examples, read_examples

__all__ = ["DataLoader", "load_examples", "read_examples"]
