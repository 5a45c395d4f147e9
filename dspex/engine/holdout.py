"""Examples set apart before a search: which, and how the search is kept from them."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from dspex.core.candidate import Demo
from dspex.core.errors import ConfigurationError
from dspex.core.example import Example
from dspex.core.identity import digest
from dspex.engine.artifact import extracted
from dspex.engine.groups import ALONE, Groups, beside
from dspex.program.module import Module

AUTO_FROM, AUTO_SHARE, AUTO_MOST, AUTO_LEAST = 100, 5, 200, 20

Parts = tuple[list[Example], list[Example], list[Example], list[str]]


def set_apart(
    train: list[Example], val: list[Example], holdout: Any, keys: Mapping[int, str], *, seed: int, most: int | None,
    shown: Container[Example] = (), groups: Groups = ALONE,
) -> Parts:  # fmt: skip
    """Train, val and held examples, and what is to be said about them; no held example is in the other two.

    `holdout` is "auto" (a fifth of the larger set from 100 examples on), 0, a fraction, or a list; `keys` has an example's key
    by its `id`, `most` is what the budget allows; those that the program has as demos (`shown`) are not held. Of a group all are
    held or none. Raises ConfigurationError for another holdout.
    """
    if isinstance(holdout, list | tuple):
        seen = {keys[id(one)] for one in (*train, *val)}
        apart = beside(groups, [*train, *val], holdout)
        given = {key: one for one in apart if (key := keys[id(one)]) not in seen and one not in shown}
        dropped = len(holdout) - len(given)
        also = "also in train or val, or of a group that is" if groups.given else "also in train or val"
        why = f"are {also}, or twice, or demos of the program, and were left out"
        notes = [f"{dropped} held examples {why}"] if dropped else []
        return train, val, list(given.values()), notes
    source = val if len(val) > len(train) else train
    if holdout == "auto":
        count = min(AUTO_MOST, max(AUTO_LEAST, len(source) // AUTO_SHARE)) if len(train) + len(val) >= AUTO_FROM else 0
        count = min(count, count if most is None else most)
        count = count if count >= AUTO_LEAST else 0
    elif isinstance(holdout, int | float) and 0 <= holdout < 1:
        count = round(len(source) * holdout)
    else:
        raise ConfigurationError(f'holdout={holdout!r:.80}: "auto", 0, a fraction below 1, or a list of examples.')
    if not count:
        return train, val, [], ["no examples were set apart"]
    found = {keys[id(one)]: one for one in source if one not in shown}
    held = groups.parted(found, seed, count)
    if groups.given and holdout == "auto" and len(held) < AUTO_LEAST:
        return train, val, [], ["no examples were set apart: too few groups are small enough"]
    others = [[one for one in part if keys[id(one)] not in held] for part in (train, val)]
    rest = [beside(groups, list(held.values()), part) for part in others]
    lost = sum(map(len, others)) - sum(map(len, rest))
    notes = [f"{lost} examples are of held groups, and were left out"] if lost else []
    return rest[0], rest[1], [one for key, one in found.items() if key in held], notes


class Shown:
    """The examples whose inputs stand in demos."""

    def __init__(self, demos: Iterable[Demo]) -> None:
        self._fields = [demo.fields for demo in demos]
        self._known: dict[tuple[str, ...], set[str]] = {}

    def __contains__(self, example: object) -> bool:
        if not self._fields or not isinstance(example, Example):
            return False
        names = tuple(sorted(example._input_keys or ()))
        if names not in self._known:
            rows = [fields for fields in self._fields if names and fields.keys() >= set(names)]
            self._known[names] = {digest([fields[name] for name in names]) for fields in rows}
        return digest([example._store[name] for name in names]) in self._known[names]


def demos_in(program: Module) -> Iterator[Demo]:
    """The demos of all predictors."""
    for state in extracted(program).predictors.values():
        yield from state.demos


def sealed_by(held: Sequence[Example], keys: Mapping[int, str]) -> frozenset[str]:
    """What tells the held examples: their keys, which a demo names as its origin, and the digests of all their fields."""
    return frozenset([*(keys[id(one)] for one in held), *(digest(one._store) for one in held)])


def shows_sealed(demo: Demo, sealed: frozenset[str]) -> bool:
    """Whether a demo is a held example."""
    return demo.origin in sealed or digest(demo.fields) in sealed
