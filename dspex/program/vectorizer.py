"""Vectors of texts with no model behind them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import Any

from dspex.core.errors import ConfigurationError

_SHAPES = ((re.compile(r"\d"), "9"), (re.compile(r"[^\W\d_]"), "a"))
_WORD = re.compile(r"\w+")


class CharacterVectorizer:
    """Counts of hashed character n-grams: texts that share spellings have near vectors; no call, no download.

    With `shapes` every letter counts as one letter and every digit as one digit: texts of one form are near.
    """

    def __init__(self, max_length: int = 100, n_gram: int = 2, shapes: bool = False) -> None:
        self.max_length = max_length
        self.n_gram = n_gram
        self.shapes = shapes

    def __call__(self, texts: Iterable[str]) -> list[list[float]]:
        """One centred, normalised vector of `max_length` values a text."""
        return [self._vector(_shape(text) if self.shapes else text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        counts = [0.0] * self.max_length
        for start in range(max(0, len(text) - self.n_gram + 1)):
            place = 0
            for letter in text[start : start + self.n_gram]:
                place = (place * 257 + ord(letter)) % 1_000_003
            counts[place % self.max_length] += 1.0
        mean = sum(counts) / len(counts)
        return _normalised([count - mean for count in counts])

    def dump_state(self) -> dict[str, Any]:
        """What makes it again."""
        return {"max_length": self.max_length, "n_gram": self.n_gram, **({"shapes": True} if self.shapes else {})}


class WordVectorizer:
    """Words, weighed by how few texts have them (tf-idf, Sparck Jones 1972); case does not count.

    It is fitted to texts first, of whose words it knows the `max_words` that most of them have, none that only one has. Where
    texts are searched, it is fitted to those that are searched.
    """

    def __init__(self, max_words: int = 4096) -> None:
        self.max_words = max_words
        self._weights: dict[str, tuple[int, float]] | None = None

    def fitted(self, texts: Sequence[str]) -> "WordVectorizer":
        """A vectorizer that knows the words of these texts."""
        counts = Counter(word for text in texts for word in set(_words(text)))
        shared = sorted((word for word, count in counts.items() if count > 1), key=lambda word: (-counts[word], word))
        made = WordVectorizer(self.max_words)
        made._weights = {
            word: (place, log((1 + len(texts)) / (1 + counts[word])))
            for place, word in enumerate(shared[: self.max_words])
        }
        return made

    def __call__(self, texts: Iterable[str]) -> list[list[float]]:
        """One normalised vector a text, with a place for each word that is known. Raises ConfigurationError if none is."""
        if self._weights is None:
            raise ConfigurationError("A WordVectorizer knows no words yet: WordVectorizer().fitted(texts) does.")
        return [self._vector(text, self._weights) for text in texts]

    @staticmethod
    def _vector(text: str, weights: Mapping[str, tuple[int, float]]) -> list[float]:
        values = [0.0] * max(1, len(weights))
        for word in _words(text):
            if word in weights:
                place, weight = weights[word]
                values[place] += weight
        return _normalised(values)

    def dump_state(self) -> dict[str, Any]:
        """What makes it again; its words are those of the texts that it is fitted to."""
        return {"max_words": self.max_words}


def _shape(text: str) -> str:
    for pattern, sign in _SHAPES:
        text = pattern.sub(sign, text)
    return text


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _normalised(values: list[float]) -> list[float]:
    length = sum(value * value for value in values) ** 0.5 or 1.0
    return [value / length for value in values]
