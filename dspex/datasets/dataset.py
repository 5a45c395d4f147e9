"""DSPy's base of data sets of one's own."""

import random
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dspex.core.example import Example

__all__ = ["Dataset"]


class Dataset:
    """A class below it puts rows, mappings or Examples, into `_train`, `_dev` and `_test`; `train`, `dev`, `test` are Examples of these.

    Each split is shuffled by its seed, unless `do_shuffle` is False, and cut to its size.
    """

    _train: Iterable[Mapping[str, Any]]
    _dev: Iterable[Mapping[str, Any]]
    _test: Iterable[Mapping[str, Any]]

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        train_seed: int = 0,
        train_size: int | None = None,
        eval_seed: int = 0,
        dev_size: int | None = None,
        test_size: int | None = None,
        input_keys: Sequence[str] | None = None,
    ) -> None:
        self.train_seed, self.train_size = train_seed, train_size
        self.dev_seed, self.dev_size = eval_seed, dev_size
        self.test_seed, self.test_size = eval_seed, test_size
        self.input_keys = list(input_keys or ())
        self.do_shuffle = True
        self.name = type(self).__name__
        self._made: dict[str, list[Example]] = {}

    @property
    def train(self) -> list[Example]:
        """The examples to train on."""
        return self._split("train", self.train_size, self.train_seed)

    @property
    def dev(self) -> list[Example]:
        """The examples to choose by."""
        return self._split("dev", self.dev_size, self.dev_seed)

    @property
    def test(self) -> list[Example]:
        """The examples that are held out."""
        return self._split("test", self.test_size, self.test_seed)

    def reset_seeds(
        self,
        train_seed: int | None = None,
        train_size: int | None = None,
        eval_seed: int | None = None,
        dev_size: int | None = None,
        test_size: int | None = None,
    ) -> None:
        """Draw the splits anew; what is None stays as it was."""
        sizes = {"train_size": train_size, "dev_size": dev_size, "test_size": test_size}
        seeds = {"train_seed": train_seed, "dev_seed": eval_seed, "test_seed": eval_seed}
        self.__dict__.update({name: value for name, value in {**sizes, **seeds}.items() if value is not None})
        self._made.clear()

    def _split(self, name: str, size: int | None, seed: int) -> list[Example]:
        if name not in self._made:
            rows = list(getattr(self, f"_{name}"))
            if self.do_shuffle:
                random.Random(seed).shuffle(rows)
            self._made[name] = [self._example(row, name) for row in rows[:size]]
        return self._made[name]

    def _example(self, row: Mapping[str, Any], split: str) -> Example:
        example = Example(**{**row, "dspy_uuid": str(uuid.uuid4()), "dspy_split": split})
        return example.with_inputs(*self.input_keys) if self.input_keys else example
