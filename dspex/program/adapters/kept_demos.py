"""Demos as messages, made once for each: an optimised program has up to dozens, and shows them at each call."""

from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

from dspex.core.example import Example
from dspex.core.messages import Message

MOST = 512  # demos of one signature; beyond it all are made anew, once
_FIXED = frozenset({str, int, float, bool, type(None)})

Turns = tuple[bool, tuple[Message, ...]]  # whether the demo is whole, and its messages


class KeptDemos:
    """The turns of a signature's demos. A demo's are good for as long as it has the same values, which nobody can change."""

    def __init__(self, make: Callable[[Any], Turns]) -> None:
        self._make = make
        # By the `id` of a demo, which cannot be another's while the demo is kept here.
        self._known: dict[int, tuple[Any, tuple[Any, ...], Turns]] = {}

    def messages(self, demos: Sequence[Any]) -> list[Message]:
        """A user and an assistant message for each demo, partial ones first."""
        whole: list[Message] = []
        partial: list[Message] = []
        for demo in demos:
            fields: Mapping[str, Any] = demo._store if isinstance(demo, Example) else demo
            state = (*fields, *fields.values())
            known = self._known.get(id(demo))
            if known is None or len(known[1]) != len(state) or not all(map(is_, known[1], state)):
                turns = self._new(demo, state)
            else:
                turns = known[2]
            (whole if turns[0] else partial).extend(turns[1])
        return partial + whole

    def _new(self, demo: Any, state: tuple[Any, ...]) -> Turns:
        turns = self._make(demo)
        if _FIXED.issuperset(map(type, state)):
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[id(demo)] = demo, state, turns
        return turns
