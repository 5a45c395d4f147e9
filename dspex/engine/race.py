"""Which candidates of a race have clearly lost."""

import math
from collections.abc import Sequence

import msgspec

from dspex.core.candidate import Candidate, Scores


class Race(msgspec.Struct, frozen=True):
    """The outcome of a race: `scores` in the order of `candidates`, shorter for those that were dropped."""

    winner: Candidate
    candidates: tuple[Candidate, ...]
    scores: tuple[Scores, ...]
    dropped: tuple[int, ...] = ()


def block_size(examples: int) -> int:
    """Examples between two looks; of the data's size only."""
    return 8 if examples <= 64 else 10


def survivors(scores: Sequence[Sequence[float]], z: float, keep: int = 1) -> list[int]:
    """Indexes of the rows that are not clearly worse than the leading one, on the examples that all have.

    Leader: the highest sum, the earliest of equals. A row goes when sum(d) / sqrt(sum(d^2)) >= z for its differences d to
    the leader, McNemar's form for 0/1 scores; the `keep` best stay in any case.
    """
    sums = [math.fsum(row) for row in scores]
    order = sorted(range(len(scores)), key=lambda row: -sums[row])
    leader = scores[order[0]]

    def is_lost(row: Sequence[float]) -> bool:
        gaps = [best - one for best, one in zip(leader, row, strict=True)]
        spread = math.hypot(*gaps)
        return bool(spread) and math.fsum(gaps) / spread >= z

    return sorted(row for rank, row in enumerate(order) if rank < keep or not is_lost(scores[row]))


def leading(scores: Sequence[Sequence[float]], rows: Sequence[int]) -> int:
    """The row, of these, with the highest sum; the earliest of equals."""
    return max(rows, key=lambda row: (math.fsum(scores[row]), -row))
