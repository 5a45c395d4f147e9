"""All programs of a search with the scores each was made with, and draws among the best of them."""

import math
import random
from collections.abc import Sequence

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

    def drawn(self, rng: random.Random, among: Sequence[int], temperature: float) -> int:
        """One of these, with a weight of exp(mean / temperature)."""
        means = [self.mean(number) for number in among]
        weights = [math.exp((mean - max(means)) / temperature) for mean in means]
        return rng.choices(among, weights)[0]
