"""The candidates of a run and their scores; what is best follows from places and scores, never from arrival."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex.core.candidate import Candidate, Rollout


class Entry(msgspec.Struct, frozen=True):
    """A candidate of the pool; `scores` are those on the validation examples asked for, None where it was not run."""

    candidate: Candidate
    label: str
    place: tuple[int, ...]
    parents: tuple[str, ...] = ()
    meta: Mapping[str, Any] = {}
    scores: tuple[float | None, ...] = ()

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
        self._scores: dict[str, dict[str, float]] = {}

    def add(self, entry: Entry) -> None:
        """Enter a candidate; of two equal ones the one with the first place stays."""
        known = self._entries.get(entry.candidate.key)
        if known is None or entry.place < known.place:
            self._entries[entry.candidate.key] = entry

    def attach(self, rollout: Rollout) -> None:
        """Note a score."""
        self._scores.setdefault(rollout.candidate, {})[rollout.example] = rollout.score

    def scored(self, candidate: Candidate, examples: Sequence[str]) -> tuple[float | None, ...]:
        """A candidate's scores on examples given by key, None where it was not run."""
        known = self._scores.get(candidate.key, {})
        return tuple(known.get(key) for key in examples)

    def ranked(self, examples: Sequence[str]) -> list[Entry]:
        """All candidates, best first: those run on all examples by their mean, then the others; ties by place."""
        entries = sorted(self._entries.values(), key=lambda entry: entry.place)
        scored = [msgspec.structs.replace(entry, scores=self.scored(entry.candidate, examples)) for entry in entries]
        return sorted(scored, key=lambda entry: (not entry.is_complete, -entry.mean, -entry.n))

    def best(self, examples: Sequence[str]) -> Entry | None:
        """The best of those that were run on all examples."""
        return next((entry for entry in self.ranked(examples)[:1] if entry.is_complete), None)
