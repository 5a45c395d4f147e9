"""The candidates of a run and their scores; what is best follows from places and scores, never from arrival."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex.core.candidate import Candidate, Rollout

_Row = tuple[float, float | None, int, float, str | None]  # score, dollars, tokens, seconds, what it failed with


class Entry(msgspec.Struct, frozen=True):
    """A candidate of the pool; `scores` are those on the validation examples asked for, None where it was not run.

    `usd` (None where a price is not known), `tokens` and `seconds`, those of its calls, are means of its runs there.
    """

    candidate: Candidate
    label: str
    place: tuple[int, ...]
    parents: tuple[str, ...] = ()
    meta: Mapping[str, Any] = {}
    scores: tuple[float | None, ...] = ()
    usd: float | None = None
    tokens: float = 0.0
    seconds: float = 0.0

    @property
    def n(self) -> int:
        """How many of the examples it was run on."""
        return sum(score is not None for score in self.scores)

    @property
    def mean(self) -> float:
        """Mean of the scores there are, 0.0 without any."""
        known = [score for score in self.scores if score is not None]
        return sum(known) / len(known) if known else 0.0

    @property
    def is_complete(self) -> bool:
        """Whether it was run on all of the examples."""
        return bool(self.scores) and None not in self.scores


class Pool:
    """Candidates by key; scores attach to them by key too, whenever they come."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._rows: dict[str, dict[str, _Row]] = {}

    def add(self, entry: Entry) -> None:
        """Enter a candidate; of two equal ones the one with the first place stays."""
        known = self._entries.get(entry.candidate.key)
        if known is None or entry.place < known.place:
            self._entries[entry.candidate.key] = entry

    def attach(self, rollout: Rollout, seconds: float = 0.0) -> None:
        """Note a score, and what it took."""
        row = (rollout.score, rollout.usage.usd, rollout.usage.total_tokens, seconds, rollout.error)
        self._rows.setdefault(rollout.candidate, {})[rollout.example] = row

    def scored(self, candidate: Candidate, examples: Sequence[str]) -> tuple[float | None, ...]:
        """A candidate's scores on examples given by key, None where it was not run."""
        known = self._rows.get(candidate.key, {})
        return tuple(known[key][0] if key in known else None for key in examples)

    def failed(self, candidate: Candidate, examples: Sequence[str]) -> tuple[int, list[str]]:
        """On how many of these examples a candidate was run, and what it failed with."""
        known = self._rows.get(candidate.key, {})
        rows = [known[key] for key in examples if key in known]
        return len(rows), [row[4] for row in rows if row[4] is not None]

    def entry(self, entry: Entry, examples: Sequence[str]) -> Entry:
        """An entry with what is known of its candidate on these examples."""
        scores, known = self.scored(entry.candidate, examples), self._rows.get(entry.candidate.key, {})
        rows = [known[key] for key in examples if key in known]
        if not rows:
            return msgspec.structs.replace(entry, scores=scores, usd=None, tokens=0.0, seconds=0.0)
        prices = [row[1] for row in rows if row[1] is not None]
        return msgspec.structs.replace(
            entry,
            scores=scores,
            usd=math.fsum(prices) / len(rows) if len(prices) == len(rows) else None,
            tokens=sum([row[2] for row in rows]) / len(rows),
            seconds=math.fsum([row[3] for row in rows]) / len(rows),
        )

    def ranked(self, examples: Sequence[str]) -> list[Entry]:
        """All candidates, best first: those run on all examples by their mean, then the others; ties by place."""
        return sorted((self.entry(entry, examples) for entry in self._in_order()), key=lambda one: _rank(one.scores))

    def first(self, examples: Sequence[str]) -> Entry | None:
        """The first of these."""
        entries = self._in_order()
        found = min(entries, key=lambda one: _rank(self.scored(one.candidate, examples)), default=None)
        return None if found is None else self.entry(found, examples)

    def best(self, examples: Sequence[str]) -> Entry | None:
        """The best of those that were run on all examples."""
        found = self.first(examples)
        return found if found is not None and found.is_complete else None

    def __len__(self) -> int:
        return len(self._entries)

    def _in_order(self) -> list[Entry]:
        return sorted(self._entries.values(), key=lambda entry: entry.place)


def _rank(scores: Sequence[float | None]) -> tuple[bool, float, int]:
    """Less is better."""
    known = [score for score in scores if score is not None]
    mean = sum(known) / len(known) if known else 0.0
    return not known or len(known) < len(scores), -mean, -len(known)
