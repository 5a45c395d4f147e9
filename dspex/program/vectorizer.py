"""Vectors of texts with no model behind them."""

from collections.abc import Iterable
from typing import Any


class CharacterVectorizer:
    """Counts of hashed character n-grams: texts that share spellings have near vectors; no call, no download."""

    def __init__(self, max_length: int = 100, n_gram: int = 2) -> None:
        self.max_length = max_length
        self.n_gram = n_gram

    def __call__(self, texts: Iterable[str]) -> list[list[float]]:
        """One centred, normalised vector of `max_length` values a text."""
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        counts = [0.0] * self.max_length
        for start in range(max(0, len(text) - self.n_gram + 1)):
            gram = text[start : start + self.n_gram]
            place = 0
            for letter in gram:
                place = (place * 257 + ord(letter)) % 1_000_003
            counts[place % self.max_length] += 1.0
        mean = sum(counts) / len(counts)
        centred = [count - mean for count in counts]
        length = sum(value * value for value in centred) ** 0.5 or 1.0
        return [value / length for value in centred]

    def dump_state(self) -> dict[str, Any]:
        """What makes it again."""
        return {"max_length": self.max_length, "n_gram": self.n_gram}
