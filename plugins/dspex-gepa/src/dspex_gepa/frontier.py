"""Which candidates are the best on something, and a draw among them (2507.19457, section 3.3)."""

import random
from collections.abc import Sequence


def fronts_of(scores: Sequence[Sequence[float]]) -> list[tuple[int, ...]]:
    """For each example the candidates that score highest on it; `scores` has a row a candidate."""
    columns = [(max(column), column) for column in zip(*scores, strict=True)]
    return [tuple(one for one, score in enumerate(column) if score == best) for best, column in columns]


def kept(fronts: Sequence[Sequence[int]], means: Sequence[float]) -> list[int]:
    """The candidates that are left where each goes that shares all its fronts with others that are left.

    The worst mean goes first, and of equal ones the earlier candidate: it had its turns.
    """
    alive = sorted({one for front in fronts for one in front})
    places: dict[int, list[int]] = {one: [] for one in alive}
    for place, front in enumerate(fronts):
        for one in front:
            places[one].append(place)
    left = [len(front) for front in fronts]
    for one in sorted(alive, key=lambda one: (means[one], one)):
        if all(left[place] > 1 for place in places[one]):
            alive.remove(one)
            for place in places[one]:
                left[place] -= 1
    return alive


def drawn(fronts: Sequence[Sequence[int]], means: Sequence[float], rng: random.Random) -> int:
    """One of the candidates kept, in proportion to the number of fronts that it is in."""
    found = kept(fronts, means)
    return rng.choices(found, [sum(one in front for front in fronts) for one in found])[0]


def best_of(means: Sequence[float]) -> int:
    """The highest mean, the first of equals."""
    return max(range(len(means)), key=lambda one: means[one])
