"""DSPy's place for what reads datasets: `from dspex.datasets import DataLoader`."""

import sys
from typing import Any

from dspex.datasets.dataset import Dataset
from dspex.evaluate.datasets import DataLoader, load_examples, read_examples

__all__ = ["DataLoader", "Dataset", "load_examples", "read_examples"]

# DSPy's names of data sets that it downloads.
_SETS = frozenset({"AlfWorld", "Colors", "GSM8K", "HotPotQA", "MATH"})


def __getattr__(name: str) -> Any:
    if name not in _SETS:
        raise AttributeError(f"module 'dspex.datasets' has no attribute {name!r}")
    from dspex.core.importing import is_import

    why = f"dspex has no {name}, as it downloads nothing unasked: read a file, or a data set of Hugging Face, with DataLoader."
    if is_import(sys._getframe(1)):
        raise ImportError(f"cannot import name {name!r}: {why}", name=__name__)
    raise AttributeError(why, name=name)
