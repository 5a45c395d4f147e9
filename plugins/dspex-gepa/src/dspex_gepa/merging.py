"""Two candidates made one: from each what it has changed since their common ancestor (2507.19457, appendix F)."""

import random
from collections.abc import Mapping, Sequence

import msgspec

TRIES = 10
SAMPLE = 5

Texts = Mapping[str, str]


class Merge(msgspec.Struct, frozen=True):
    """What is merged, by number; `sources` says whose text each component has."""

    first: int
    second: int
    ancestor: int
    texts: dict[str, str]
    sources: tuple[int, ...]

    @property
    def marks(self) -> set[tuple[object, ...]]:
        """What must not be merged again: these three, and these two to the same end."""
        return {(self.first, self.second, self.ancestor), (self.first, self.second, self.sources)}


def ancestors(one: int, parents: Sequence[Sequence[int]]) -> set[int]:
    """All that a candidate descends from."""
    found: set[int] = set()
    todo = list(parents[one])
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            todo += parents[at]
    return found


class Lineage(msgspec.Struct, frozen=True):
    """What is known of all candidates, by number: the text of each component, the parents, the mean score."""

    texts: Sequence[Texts]
    parents: Sequence[Sequence[int]]
    means: Sequence[float]


def merge_of(known: Lineage, among: Sequence[int], done: set[tuple[object, ...]], rng: random.Random) -> Merge | None:
    """A merge of two of `among`, neither of them the other's ancestor; None where ten draws find none that is not `done`.

    Their common ancestor is better than neither, and some component was changed since by just one of them.
    """
    texts, means = known.texts, known.means
    for _ in range(TRIES if len(among) > 1 else 0):
        first, second = sorted(rng.sample(list(among), 2))
        above = ancestors(first, known.parents), ancestors(second, known.parents)
        if first in above[1] or second in above[0]:
            continue
        common = [
            one
            for one in sorted(above[0] & above[1])
            if (first, second, one) not in done
            and means[one] <= min(means[first], means[second])
            and _complement(texts[one], texts[first], texts[second])
        ]
        if not common:
            continue
        merge = _merged(known, (first, second, _drawn(common, means, rng)), rng)
        if not merge.marks & done:
            return merge
    return None


def _complement(origin: Texts, first: Texts, second: Texts) -> bool:
    """Whether a component was changed by just one of the two."""
    return any((first[name] == text) != (second[name] == text) for name, text in origin.items())


def _drawn(found: Sequence[int], means: Sequence[float], rng: random.Random) -> int:
    """In proportion to their scores, where these can be weights."""
    weights = [means[one] for one in found]
    usable = min(weights) >= 0 and sum(weights) > 0
    return rng.choices(found, weights if usable else None)[0]


def _merged(known: Lineage, three: tuple[int, int, int], rng: random.Random) -> Merge:
    texts, means = known.texts, known.means
    first, second, ancestor = three
    made, sources = {}, []
    for name, text in texts[ancestor].items():
        one, other = texts[first][name], texts[second][name]
        if other in (one, text):
            source = first
        elif one == text:
            source = second
        elif means[first] == means[second]:
            source = rng.choice((first, second))
        else:
            source = first if means[first] > means[second] else second
        made[name] = texts[source][name]
        sources.append(source)
    return Merge(first, second, ancestor, made, tuple(sources))


def sampled(first: Sequence[float], second: Sequence[float], rng: random.Random, count: int = SAMPLE) -> list[int]:
    """Places to try a merge on: a third each where one parent wins, where the other does, and where they tie."""
    pairs = list(enumerate(zip(first, second, strict=True)))
    kinds = [
        [place for place, (one, other) in pairs if one > other],
        [place for place, (one, other) in pairs if one < other],
        [place for place, (one, other) in pairs if one == other],
    ]
    found: list[int] = []
    for kind in kinds:
        found += rng.sample(kind, min(len(kind), -(-count // 3), count - len(found)))
    rest = [place for place, _ in pairs if place not in found]
    return sorted([*found, *rng.sample(rest, min(len(rest), count - len(found)))])
