"""Vectors in blocks: many may be added without copying those that are there, and searched while more are added."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float32]]
Places = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

FIRST_ROWS = 256
BLOCK_ROWS = 1 << 16
# Of scores of several queries, so much at a time.
SCORES_BYTES = 1 << 26
SHORTEST = 1e-12  # what is shorter stays as short as it is
LOWEST = float(np.finfo(np.float32).min)
# Where fewer than one row in so many is wanted, they are gathered first.
GATHER = 8


class Rows:
    """Rows of one length; what is written once never changes, so a view stays good while rows are added."""

    def __init__(self, dim: int, first: Floats | None = None) -> None:
        self.dim = dim
        self._blocks: list[Floats] = [] if first is None else [first]
        self._free = 0  # rows of the last block that are not used
        self.count = 0 if first is None else len(first)

    def add(self, rows: Floats) -> None:
        """Put rows behind the others."""
        while len(rows):
            if not self._free:
                self._make_room(len(rows))
            block = self._blocks[-1]
            some = rows[: self._free]
            used = len(block) - self._free
            block[used : used + len(some)] = some
            self._free -= len(some)
            self.count += len(some)
            rows = rows[len(some) :]

    def _make_room(self, wanted: int) -> None:
        last = self._blocks[-1] if self._blocks else None
        if last is None or len(last) >= BLOCK_ROWS or not last.flags.writeable:
            size = min(BLOCK_ROWS, max(FIRST_ROWS, wanted))
            self._blocks.append(np.empty((size, self.dim), np.float32))
            self._free = size
            return
        size = min(BLOCK_ROWS, max(2 * len(last), len(last) + wanted))
        larger = np.empty((size, self.dim), np.float32)
        larger[: len(last)] = last
        self._blocks[-1] = larger
        self._free = size - len(last)

    def view(self) -> "View":
        """All rows, as they are now."""
        return View(tuple(self._blocks), self.count, self.dim)


class View:
    """The rows that were there when it was made."""

    def __init__(self, blocks: Sequence[Floats], count: int, dim: int) -> None:
        self.count = count
        self.dim = dim
        self._blocks = blocks

    def pieces(self) -> "list[tuple[int, Floats]]":
        """Where each block begins, and its rows."""
        if len(self._blocks) == 1:
            return [(0, self._blocks[0][: self.count])] if self.count else []
        begins, found = 0, []
        for block in self._blocks:
            rows = block[: self.count - begins]
            found.append((begins, rows))
            begins += len(rows)
        return [(start, rows) for start, rows in found if len(rows)]

    def take(self, places: Places) -> Floats:
        """A copy of some rows, in the order of `places`, which rise."""
        parts = [
            rows[places[np.searchsorted(places, start) : np.searchsorted(places, start + len(rows))] - start]
            for start, rows in self.pieces()
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def best(self, queries: Floats, k: int, among: Mask | None = None) -> list[tuple[Places, Floats]]:
        """For each query the places of its `k` best rows, best first, and their scores, which are dot products."""
        if among is not None:
            wanted = int(np.count_nonzero(among))
            if wanted * GATHER < self.count:
                return self.best_of(queries, k, np.flatnonzero(among).astype(np.int64))
        if len(queries) == 1:
            return [top(self._scores(queries[0], among), k)]
        return self._best_of_many(queries, k, among)

    def best_of(self, queries: Floats, k: int, places: Places) -> list[tuple[Places, Floats]]:
        """As `best`, among rows at `places`, which rise."""
        scores = queries @ self.take(places).T
        found = (top(row, k) for row in scores)
        return [(places[order], values) for order, values in found]

    def _scores(self, query: Floats, among: Mask | None) -> Floats:
        pieces = self.pieces()
        if len(pieces) == 1:
            scores: Floats = pieces[0][1].dot(query)
        else:
            scores = np.empty(self.count, np.float32)
            for start, rows in pieces:
                np.dot(rows, query, out=scores[start : start + len(rows)])
        if among is not None:
            scores[~among] = -np.inf
        return scores

    def _best_of_many(self, queries: Floats, k: int, among: Mask | None) -> list[tuple[Places, Floats]]:
        step = max(1, SCORES_BYTES // (4 * len(queries)))
        found: list[list[tuple[Places, Floats]]] = [[] for _ in queries]
        for start, block in self.pieces():
            for begins in range(0, len(block), step):
                rows = block[begins : begins + step]
                scores = queries @ rows.T
                first = start + begins
                if among is not None:
                    scores[:, ~among[first : first + len(rows)]] = -np.inf
                for own, values in zip(found, scores, strict=True):
                    places, best = top(values, k)
                    own.append((places + first, best))
        return [_merged(own, k) for own in found]


def top(scores: Floats, k: int) -> tuple[Places, Floats]:
    """Places of the `k` highest scores, highest first, of equal ones the earlier first; those of -inf are left out."""
    # By arrays' own methods: numpy's functions around them cost a search of a thousand rows a tenth of its time.
    (places,) = (scores >= _least(scores, k)).nonzero()
    values = scores[places]
    order = (-values).argsort(kind="stable")[:k]
    return places[order], values[order]


def _least(scores: Floats, k: int) -> float:
    """The lowest of the `k` highest scores."""
    at = len(scores) - k
    if at <= 0:
        return LOWEST
    sorted_there = scores.copy()
    sorted_there.partition(at)
    return max(LOWEST, float(sorted_there[at]))


def _merged(parts: Sequence[tuple[Places, Floats]], k: int) -> tuple[Places, Floats]:
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    places = np.concatenate([places for places, _ in parts])
    values = np.concatenate([values for _, values in parts])
    order = np.lexsort((places, -values))[:k]
    return places[order], values[order]


def normalized(rows: Floats) -> Floats:
    """Rows of length 1; a row of zeros stays one."""
    if len(rows) == 1:
        row = np.asarray(rows, np.float32)
        made: Floats = row / np.float32(max(float(row[0].dot(row[0])) ** 0.5, SHORTEST))
        return made
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, SHORTEST), np.float32)
