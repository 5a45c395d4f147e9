"""An index by words: passages, and what bm25s makes of them. It waits for nothing but its locks."""

import threading
from array import array
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import numpy as np
from bm25s import BM25

from dspex.plugin import Condition, Passage, all_hold
from dspex_bm25.options import BM25Options
from dspex_bm25.words import Vocabulary, words

Scores = np.ndarray[Any, np.dtype[np.float32]]

# Of the passages that were indexed, so many in a hundred may be gone before the index is made anew.
GONE_PERCENT = 10


class Built(msgspec.Struct, frozen=True):
    """An index as it was made: a score for each pair of a word and a passage. What is gone since is in `gone`."""

    scorer: BM25 | None
    passages: Sequence[Passage]
    vocabulary: Vocabulary
    gone: set[str]


class Index:
    """Passages by their words; it is used from several threads at once.

    bm25s takes all passages at once. So what is added waits, and the index is made anew at the first search after that.
    """

    def __init__(self, options: BM25Options, built: Built | None = None) -> None:
        self._options = options
        self._lock = threading.RLock()
        self._building = threading.Lock()
        self._stopwords: Collection[str] = frozenset(word.casefold() for word in options.stopwords)
        self._built = built or Built(None, (), Vocabulary(), set())
        self._passages = {passage.id: passage for passage in self._built.passages}
        self._numbers: dict[
            str, array[int]
        ] = {}  # of the words of each passage; of opened ones made when they are needed
        self._vocabulary = Vocabulary(self._built.vocabulary)
        self._changes = 0  # since the index was made
        self._indexed = 0  # changes that it has

    def __len__(self) -> int:
        return len(self._passages)

    # Changes

    def add(self, passages: Sequence[Passage]) -> None:
        """Put passages in; one whose id is there is replaced."""
        split = [words(passage.text, self._stopwords) for passage in passages]
        with self._lock:
            for passage, own in zip(passages, split, strict=True):
                self._passages[passage.id] = passage
                self._numbers[passage.id] = self._vocabulary.numbers(own)
            self._changes += len(passages)

    def delete(self, ids: Sequence[str]) -> None:
        """Take passages out; absent ones are none."""
        with self._lock:
            for name in ids:
                if self._passages.pop(name, None) is not None:
                    self._numbers.pop(name, None)
                    self._built.gone.add(name)
            if len(self._built.gone) * 100 > len(self._built.passages) * GONE_PERCENT:
                self._changes += 1

    def built(self) -> Built:
        """The index over all passages, made anew where some were added since."""
        with self._building:
            with self._lock:
                if self._changes == self._indexed:
                    return self._built
                changes, passages = self._changes, list(self._passages.values())
                numbers = [self._numbers_of(passage) for passage in passages]
                vocabulary = Vocabulary(self._vocabulary)
            built = build(passages, numbers, vocabulary, self._options)
            with self._lock:
                # What went while it was made is gone from it; what was replaced is no more than a change that it lacks.
                built.gone.update(passage.id for passage in passages if passage.id not in self._passages)
                self._built, self._indexed = built, changes
            return built

    def _numbers_of(self, passage: Passage) -> "array[int]":
        found = self._numbers.get(passage.id)
        if found is None:
            own = words(passage.text, self._stopwords)
            found = self._numbers[passage.id] = self._vocabulary.numbers(own)
        return found

    # Searches

    def search(self, queries: Sequence[str], k: int, conditions: Sequence[Condition]) -> list[list[Passage]]:
        """For each query its best passages, best first; each has one of its words at least."""
        built = self.built()
        return [self._best(built, query, k, conditions) for query in queries]

    def _best(self, built: Built, query: str, k: int, conditions: Sequence[Condition]) -> list[Passage]:
        numbers = built.vocabulary.known(words(query, self._stopwords))
        if not numbers or built.scorer is None:
            return []
        scores: Scores = built.scorer.get_scores_from_ids(numbers)
        gone, found = built.gone, []
        wanted = k if not conditions and not gone else len(scores)
        for place in ordered(scores, wanted):
            passage = built.passages[place]
            if passage.id not in gone and all_hold(conditions, passage.metadata):
                # A copy: who changes what was found does not change what is searched.
                found.append(Passage(passage.text, float(scores[place]), passage.id, dict(passage.metadata)))
                if len(found) == k:
                    break
        return found


def build(
    passages: Sequence[Passage], numbers: "Sequence[array[int]]", vocabulary: Vocabulary, options: BM25Options
) -> Built:
    """The index over passages with these words."""
    if not any(numbers):
        return Built(None, passages, vocabulary, set())
    scorer = BM25(k1=options.k1, b=options.b, method=options.method, backend="numpy", auto_compile=False)
    scorer.index((numbers, vocabulary), create_empty_token=False, show_progress=False)
    return Built(scorer, passages, vocabulary, set())


def ordered(scores: Scores, k: int) -> list[int]:
    """Places of the `k` highest scores above zero, highest first, of equal ones the earlier first."""
    least = np.partition(scores, len(scores) - k)[-k] if k < len(scores) else 0
    places = np.flatnonzero(scores >= least) if least > 0 else np.flatnonzero(scores > 0)
    found: list[int] = places[np.argsort(-scores[places], kind="stable")[:k]].tolist()
    return found
