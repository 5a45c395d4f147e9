"""An index: vectors, what stands beside them, and which of them are gone. It waits for nothing but its lock."""

import threading
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from dspex.plugin import Condition, Passage, RetrieverError
from dspex_vectors.graph import Graph, is_installed
from dspex_vectors.options import VectorsOptions
from dspex_vectors.records import Records
from dspex_vectors.rows import Floats, Mask, Places, Rows, View, normalized

# Rows that are gone, at least, before the others move together; and then more than half are.
COMPACTED_FROM = 1024
GROWTH = 2


class Index:
    """Passages by their vectors; it is used from several threads at once."""

    def __init__(self, options: VectorsOptions) -> None:
        self._options = options
        self._lock = threading.RLock()
        self._building = threading.Lock()
        self.rows: Rows | None = None
        self.records = Records()
        self.graph: Graph | None = None
        self._alive: Mask = np.ones(0, np.bool_)
        self._gone = 0
        self._places: dict[str, int] | None = {}

    @classmethod
    def of(cls, options: VectorsOptions, rows: Floats, records: Records, graph: Graph | None = None) -> "Index":
        """One that was saved."""
        made = cls(options)
        made.rows, made.records, made.graph = Rows(rows.shape[1], rows), records, graph
        made._alive = np.ones(len(rows), np.bool_)
        made._places = None  # made when something is changed
        return made

    def __len__(self) -> int:
        return len(self.records) - self._gone

    # Changes

    def add(self, passages: Sequence[Passage], vectors: Floats) -> None:
        """Put passages in, a row each; one whose id is there is replaced. Raises RetrieverError."""
        last = {passage.id: place for place, passage in enumerate(passages)}
        kept = [passages[place] for place in last.values()]
        encoded = self.records.encode(kept)
        chosen = vectors[list(last.values())] if len(last) < len(passages) else vectors
        fresh = normalized(chosen) if self._options.normalize else np.ascontiguousarray(chosen, np.float32)
        with self._lock:
            rows = self._rows_of(fresh.shape[1])
            places = self._known()
            self._drop(place for name in last if (place := places.get(name)) is not None)
            first = rows.count
            rows.add(fresh)
            self.records.add(encoded, kept)
            self._make_alive(rows.count)
            places.update((passage.id, first + number) for number, passage in enumerate(kept))
            self._compact()
        self._extend_graph()

    def delete(self, ids: Sequence[str]) -> None:
        """Take passages out; absent ones are none."""
        with self._lock:
            places = self._known()
            self._drop(place for name in ids if (place := places.pop(name, None)) is not None)
            self._compact()

    def _rows_of(self, dim: int) -> Rows:
        if self.rows is None:
            self.rows = Rows(dim)
        self.check_dim(dim)
        return self.rows

    def check_dim(self, dim: int) -> None:
        """Raises RetrieverError for vectors of another length."""
        if self.rows is not None and dim != self.rows.dim:
            raise RetrieverError(
                f"The embedder gives vectors of {dim} values, and those of the index have {self.rows.dim}: it is another "
                "model than the one that the index was made with. Use that one, or make the index anew."
            )

    def _known(self) -> dict[str, int]:
        if self._places is None:
            self._places = {record.id: place for place, record in enumerate(self.records) if self._alive[place]}
        return self._places

    def _drop(self, places: Any) -> None:
        for place in places:
            self._alive[place] = False
            self._gone += 1

    def _make_alive(self, count: int) -> None:
        if count > len(self._alive):
            larger = np.ones(max(count, GROWTH * len(self._alive)), np.bool_)
            larger[: len(self._alive)] = self._alive
            self._alive = larger

    def _compact(self) -> None:
        rows = self.rows
        if rows is None or self._gone < COMPACTED_FROM or 2 * self._gone < rows.count:
            return
        places = np.flatnonzero(self._alive[: rows.count]).astype(np.int64)
        records, kept = Records(), Rows(rows.dim)
        records.add([self.records.encoded(int(place)) for place in places], ())
        for start, block in rows.view().pieces():
            own = self._alive[start : start + len(block)]
            kept.add(block[own])
        self.rows, self.records, self.graph = kept, records, None
        self._alive, self._gone, self._places = np.ones(kept.count, np.bool_), 0, None

    def _extend_graph(self) -> None:
        with self._building:
            with self._lock:
                least, rows, graph = self._options.approximate_from, self.rows, self.graph
                is_wanted = least is not None and self._options.normalize and rows is not None and rows.count >= least
            if not is_wanted or rows is None or not is_installed():
                return
            if graph is None or not graph.is_growing:
                graph = Graph(rows.dim)
            graph.extend(rows.view())
            with self._lock:
                self.graph = graph if self.rows is rows else None

    # Searches

    def search(self, queries: Floats, k: int, conditions: Sequence[Condition]) -> list[list[Passage]]:
        """For each query its best passages, best first."""
        now = self.snapshot()
        if now is None:
            return [[] for _ in queries]
        self.check_dim(queries.shape[1])
        found = now.best(normalized(queries) if self._options.normalize else queries, k, conditions)
        return [now.records.passages(places.tolist(), scores.tolist()) for places, scores in found]

    def passages(self) -> list[Passage]:
        """All that there are now, in the order in which they came."""
        now = self.snapshot()
        if now is None:
            return []
        places = range(now.view.count) if now.alive is None else np.flatnonzero(now.alive).tolist()
        return now.records.passages(places, [0.0] * len(places))

    def snapshot(self) -> "Snapshot | None":
        """All that there is now; None for nothing."""
        with self._lock:
            if self.rows is None or not len(self):
                return None
            view, least = self.rows.view(), self._options.approximate_from
            # Where most are gone, the graph leads past what is left.
            graph = self.graph if least is not None and len(self) >= least else None
            return Snapshot(view, self.records, self._alive[: view.count] if self._gone else None, graph)


class Snapshot(msgspec.Struct, frozen=True):
    """An index at one moment, whatever is added to it; `alive` None: nothing is gone."""

    view: View
    records: Records
    alive: Mask | None
    graph: Graph | None

    def best(self, queries: Floats, k: int, conditions: Sequence[Condition]) -> list[tuple[Places, Floats]]:
        """For each query the places and scores of its best rows."""
        if conditions:
            mask = self.records.holding(conditions, self.view.count)
            return self.view.best(queries, k, mask if self.alive is None else mask & self.alive)
        if self.graph is None or len(self.graph) < self.view.count:
            return self.view.best(queries, k, self.alive)
        return [self._near(self.graph, query, k) for query in queries]

    def _near(self, graph: Graph, query: Floats, k: int) -> tuple[Places, Floats]:
        count = self.view.count
        living = count if self.alive is None else int(np.count_nonzero(self.alive))
        places = graph.candidates(query, k, len(graph) / living)
        places = places[places < count]
        if self.alive is not None:
            places = places[self.alive[places]]
        if len(places) < min(k, living):
            return self.view.best(query[None, :], k, self.alive)[0]
        return self.view.best_of(query[None, :], k, places)[0]
