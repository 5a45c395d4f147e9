"""A graph over the vectors, by usearch, that finds likely candidates among very many (HNSW: Malkov & Yashunin 2018)."""

import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dspex.plugin import RetrieverError
from dspex_vectors.rows import Floats, Places, View

# Candidates for each passage wanted, and at least: their exact scores decide.
OVERSAMPLING = 8
LEAST = 64
# One byte a value: candidates need no more, and a float32 graph would double the memory.
KIND = "i8"
AT_A_TIME = 1024  # rows that are taken in while searches wait


class Graph:
    """Places of rows, by their vectors; those of rows that are gone are sorted out by who asks."""

    def __init__(self, dim: int, path: Path | None = None) -> None:
        usearch: Any = import_module("usearch.index")
        self._index = usearch.Index(ndim=dim, metric="cos", dtype=KIND, expansion_search=128)
        self._is_viewed = path is not None
        self._lock = threading.Lock()  # while it grows it moves, and must not be searched
        if path is not None:
            try:
                self._index.view(str(path))
            except RuntimeError as error:
                raise RetrieverError(f"The graph {path} cannot be opened: {error}.") from error

    def __len__(self) -> int:
        return len(self._index)

    @property
    def is_growing(self) -> bool:
        """Whether rows can be added; one that was opened from a file is only read."""
        return not self._is_viewed

    def extend(self, view: View) -> None:
        """Take in the rows beyond those that are known."""
        for start, rows in view.pieces():
            for first in range(max(start, len(self)), start + len(rows), AT_A_TIME):
                some = rows[first - start : first - start + AT_A_TIME]
                with self._lock:
                    self._index.add(np.arange(first, first + len(some), dtype=np.uint64), some)

    def candidates(self, query: Floats, k: int, share: float) -> Places:
        """Places of likely ones, rising; one in `share` of the rows is still wanted."""
        wanted = min(len(self), int(max(LEAST, OVERSAMPLING * k) * share))
        with self._lock:
            found = self._index.search(query, wanted).keys
        return np.unique(np.asarray(found, np.int64))

    def save(self, path: Path) -> None:
        """Write it to a file."""
        with self._lock:
            self._index.save(str(path))


def is_installed() -> bool:
    """Whether usearch is there."""
    return find_spec("usearch") is not None
