"""How the instructions of each round scored."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

SUMMED_UP = 10


class Statistics:
    """What DSPy's users find at the program, told to the context: the number of programs scored, and scores by predictor."""

    def __init__(self, ctx: Any, paths: Iterable[str], detailed: bool) -> None:
        self._ctx = ctx
        self._total = 0
        self._best: dict[str, dict[str, list[float]]] = {path: columns() for path in paths}
        self._latest: dict[str, dict[str, list[float]]] = {path: columns() for path in paths}
        if detailed:
            ctx.attach(results_best=self._best, results_latest=self._latest)

    def count(self, path: str, depth: int, programs: int, newest: Sequence[float]) -> None:
        """A predictor's instructions were scored, the newest of them so."""
        self._total += programs
        self._ctx.attach(total_calls=self._total)
        summed(self._latest[path], depth, newest)

    def sum_up(self, path: str, depth: int, scores: Sequence[float]) -> None:
        """These are the best scores of its instructions so far."""
        summed(self._best[path], depth, sorted(scores, reverse=True)[:SUMMED_UP])


def columns() -> dict[str, list[float]]:
    """An empty table of scores by round."""
    return {name: [] for name in ("depth", "max", "average", "min", "std")}


def summed(table: dict[str, list[float]], depth: int, scores: Sequence[float]) -> None:
    """Add the row of a round, if it has a score."""
    if not scores:
        return
    row = (depth, max(scores), sum(scores) / len(scores), min(scores), statistics.pstdev(scores))
    for name, value in zip(table, row, strict=True):
        table[name].append(value)
