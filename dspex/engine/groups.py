"""Which examples belong together: what is learnt of one tells of the others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from dspex.core.errors import ConfigurationError
from dspex.core.example import Example
from dspex.core.identity import digest, plain

Given = str | Callable[[Example], Any] | None


class Groups(msgspec.Struct, frozen=True):
    """By the field of examples, or the function of an example, that `compile(group=)` names; with None each is its own."""

    given: Given

    def of(self, example: Example) -> str:
        """The group of an example. Raises ConfigurationError for one without the field, and for a function that fails."""
        assert self.given is not None
        if isinstance(self.given, str):
            if self.given not in example:
                raise ConfigurationError(f"group={self.given!r}: {example!r:.120} has no such field.")
            return digest(plain(example[self.given]))
        try:
            return digest(plain(self.given(example)))
        except Exception as error:
            raise ConfigurationError(f"group={self.given!r:.80} failed on {example!r:.120}: {error!r}.") from error

    def of_run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> str | None:
        """The group of a traced run; None where it does not tell."""
        if self.given is None or (isinstance(self.given, str) and self.given not in {**outputs, **inputs}):
            return None
        try:
            return self.of(Example({**outputs, **inputs}).with_inputs(*inputs))
        except ConfigurationError:  # a function of more than a run tells
            return None

    def among(self, examples: Iterable[Example]) -> frozenset[str]:
        """The groups that these are of."""
        return frozenset() if self.given is None else frozenset(map(self.of, examples))

    def parted(self, examples: Mapping[str, Example], seed: int, count: int) -> dict[str, Example]:
        """Up to `count` of the examples by key, drawn by their digests; of a group all or none."""
        whole: dict[str, list[str]] = {}
        for key, one in examples.items():
            whole.setdefault(key if self.given is None else self.of(one), []).append(key)
        drawn: list[str] = []
        for group in sorted(whole, key=lambda group: digest([seed, group])):
            if len(drawn) + len(whole[group]) <= count:
                drawn += whole[group]
        return {key: examples[key] for key in drawn}

    def apart(self, train: list[Example], val: list[Example]) -> tuple[list[Example], list[Example]]:
        """Two parts that an optimizer has made of one set, now with all of a group in the same one; val grows no larger.

        Groups come to val in the order in which it has them, as long as there is room for the whole of one. Raises
        ConfigurationError where that leaves nothing for one of the parts.
        """
        if self.given is None or {id(one) for one in val} <= {id(one) for one in train}:  # nothing was parted
            return train, val
        whole: dict[str, list[Example]] = {}
        for one in (*val, *train):
            whole.setdefault(self.of(one), []).append(one)
        chosen: list[Example] = []
        for members in whole.values():
            chosen += members if len(chosen) + len(members) <= len(val) else []
        rest = {id(one) for members in whole.values() for one in members} - {id(one) for one in chosen}
        if not chosen or not rest:
            raise ConfigurationError(
                f"group={self.given!r:.80}: no valset of up to {len(val)} examples can be made of the trainset, as its groups are not "
                "parted and the smallest has more. Give a valset=."
            )
        return [one for one in (*train, *val) if id(one) in rest], chosen


ALONE = Groups(None)


def check_group(given: Any) -> Groups:
    """Raises ConfigurationError for what names no group."""
    if given is not None and not isinstance(given, str) and not callable(given):
        raise ConfigurationError(
            f"group={given!r:.80}: the name of a field of the examples, or a function of an example."
        )
    return Groups(given)


def beside(groups: Groups, held: Sequence[Example], part: Sequence[Example]) -> list[Example]:
    """Those of a part whose groups are not held."""
    apart = groups.among(held)
    return [one for one in part if groups.given is None or groups.of(one) not in apart]


def parted(
    optimizer: Any, train: list[Example], val: list[Example], rng: Any, groups: Groups
) -> tuple[list[Example], list[Example]]:
    """What an optimizer makes of the data; where it makes a valset of the trainset, groups stay whole.

    Raises ConfigurationError for what are not two lists of that data.
    """
    made, known = optimizer.parts(train, val, rng), {id(one) for one in (*train, *val)}
    is_pair = isinstance(made, tuple | list) and len(made) == 2 and all(isinstance(part, Sequence) for part in made)
    if not is_pair or not known.issuperset(map(id, chain(*made))):
        raise ConfigurationError(
            f"{type(optimizer).__name__}.parts gave {made!r:.80}: it has to give two lists, to learn from and to validate on, of the "
            "examples that it was given."
        )
    return made if val else groups.apart(*map(list, made))
