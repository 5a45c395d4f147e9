"""All programs of a search with the scores each was made with, and draws among the best of them."""

import math
import random
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from dspex import Candidate


class Standings:
    """Programs by number, in the order they were made; the student is number 0."""

    def __init__(self, student: Candidate) -> None:
        self.programs = [student]
        self._scores: list[list[float]] = [[]]

    def register(self, program: Candidate, scores: Sequence[float]) -> None:
        """Enter a program with its scores."""
        self.programs.append(program)
        self._scores.append(list(scores))

    def seen(self, number: int, score: float) -> None:
        """A program was run once more."""
        self._scores[number].append(score)

    def mean(self, number: int) -> float:
        """Of a program's scores; 0.0 before its first."""
        scores = self._scores[number]
        return math.fsum(scores) / len(scores) if scores else 0.0

    def top(self, count: int) -> list[int]:
        """The best ones, the earlier of equals first; the student is among them, in the last place if need be."""
        ranked = sorted(range(len(self.programs)), key=lambda number: -self.mean(number))[:count]
        return ranked if 0 in ranked else [*ranked[:-1], 0]

    def lottery(self, among: Sequence[int], temperature: float) -> "Lottery":
        """Draws of these as they stand now, each with a weight of exp(mean / temperature)."""
        means = [self.mean(number) for number in among]
        best = max(means)
        return Lottery(among, list(accumulate(math.exp((mean - best) / temperature) for mean in means)))


class Lottery(msgspec.Struct, frozen=True):
    """Programs by number, and the sums of their weights up to each."""

    among: Sequence[int]
    sums: list[float]

    def drawn(self, rng: random.Random) -> int:
        """One of them."""
        return rng.choices(self.among, cum_weights=self.sums)[0]
