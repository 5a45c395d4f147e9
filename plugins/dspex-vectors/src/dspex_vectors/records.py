"""What stands beside each vector: id, text and metadata, as encoded bytes, in memory or in a mapped file."""

import threading
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from dspex.plugin import Condition, Passage
from dspex_vectors.columns import Column
from dspex_vectors.rows import Mask


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A passage as it is kept."""

    id: str
    text: str
    metadata: dict[str, Any]


class Stored:
    """Records of a file: their bytes, one behind the other, and where each begins; one more place for the end."""

    def __init__(self, data: Any = b"", offsets: Any = (0,)) -> None:
        self._data = data
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, place: int) -> bytes:
        begins, ends = int(self._offsets[place]), int(self._offsets[place + 1])
        return bytes(self._data[begins:ends])


class Records:
    """Records by place, first those of a file, then those that were added."""

    def __init__(self, stored: Stored | None = None) -> None:
        self._stored = stored or Stored()
        self._known = len(self._stored)
        # In one piece: a million objects would take half as much again as what they hold.
        self._data, self._ends = bytearray(), array("q", [0])
        self._columns: dict[str, Column] = {}
        self._lock = threading.Lock()  # a column is made of all records, while none is added
        self._encoder, self._decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Record)

    def __len__(self) -> int:
        return self._known + len(self._ends) - 1

    def encoded(self, place: int) -> bytes:
        """The bytes of one."""
        own = place - self._known
        if own < 0:
            return self._stored[place]
        return bytes(self._data[self._ends[own] : self._ends[own + 1]])

    def __getitem__(self, place: int) -> Record:
        return self._decoder.decode(self.encoded(place))

    def passages(self, places: Sequence[int], scores: Sequence[float]) -> list[Passage]:
        """What a search gives: those at `places`, with their scores."""
        decode, data, ends, known, found = self._decoder.decode, self._data, self._ends, self._known, []
        for place, score in zip(places, scores, strict=True):
            own = place - known
            record = decode(self._stored[place] if own < 0 else data[ends[own] : ends[own + 1]])
            found.append(Passage(record.text, score, record.id, record.metadata))
        return found

    def __iter__(self) -> Iterator[Record]:
        return (self[place] for place in range(len(self)))

    def encode(self, passages: Sequence[Passage]) -> list[bytes]:
        """Passages as they are kept."""
        encode = self._encoder.encode
        return [encode(Record(passage.id, passage.text, dict(passage.metadata))) for passage in passages]

    def add(self, encoded: Sequence[bytes], passages: Sequence[Passage]) -> None:
        """Put passages behind the others."""
        with self._lock:
            for one in encoded:
                self._data += one
                self._ends.append(len(self._data))
            for field, column in self._columns.items():
                column.extend(passage.metadata.get(field) for passage in passages)

    def holding(self, conditions: Sequence[Condition], count: int) -> Mask:
        """Whether all conditions hold, for each of the first `count` records.

        The values of a field are read out of all records at the first search by it, and kept.
        """
        mask = np.ones(count, np.bool_)
        with self._lock:
            for condition in conditions:
                mask &= self._column(condition.field).holding(condition, count)
        return mask

    def _column(self, field: str) -> Column:
        column = self._columns.get(field)
        if column is None:
            column = self._columns[field] = Column(record.metadata.get(field) for record in self)
        return column
