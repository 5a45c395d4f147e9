"""Minibatches of the trainset, epoch by epoch."""

import random
from collections.abc import Callable


class Epochs:
    """Places of examples, `size` at a time; each epoch is in an order of its own, drawn by `rng(label)`.

    The last batch of an epoch is filled up with the examples that were used least, none of them twice in one batch.
    """

    def __init__(self, count: int, size: int, rng: Callable[[str], random.Random]) -> None:
        self.size = min(size, count)
        self._rng = rng
        self._used = [0] * count
        self._epoch = 0
        self._left: list[list[int]] = []

    def batch(self) -> list[int]:
        """The next one."""
        if not self._left:
            self._left = self._shuffled()
        found = self._left.pop(0)
        for place in found:
            self._used[place] += 1
        return found

    def _shuffled(self) -> list[list[int]]:
        order = list(range(len(self._used)))
        self._rng(f"epoch/{self._epoch}").shuffle(order)
        self._epoch += 1
        batches = [order[start : start + self.size] for start in range(0, len(order), self.size)]
        lacking = self.size - len(batches[-1])
        others = sorted((place for place in order if place not in batches[-1]), key=lambda place: self._used[place])
        batches[-1] += others[:lacking]
        return batches
