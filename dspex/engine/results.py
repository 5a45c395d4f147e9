"""What a compile gives beside its program: the other candidates, and those that are worth their price."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from dspex.engine.artifact import Programs
from dspex.engine.pool import Entry


class CandidatePrograms(Sequence[dict[str, Any]]):
    """Candidates under DSPy's keys; they are found, and a program is made, when they are asked for.

    Not a list: a program that holds this must not count the programs in it as its own parts.
    """

    def __init__(self, programs: Programs, find: Callable[[], Sequence[Entry]]) -> None:
        self._programs = programs
        self._find = find

    @cached_property
    def _entries(self) -> Sequence[Entry]:
        return self._find()

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            part = self._entries[index]
            return CandidatePrograms(self._programs, lambda: part)
        entry = self._entries[index]
        score = round(100 * entry.mean, 2) if entry.is_complete else None
        program = self._programs.fresh(entry.candidate)
        took = {"usd": entry.usd, "tokens": entry.tokens}
        row = {"score": score, "subscores": list(entry.scores), "program": program, "label": entry.label}
        return {**row, **took, **entry.meta}

    def __deepcopy__(self, _memo: object) -> "CandidatePrograms":
        return self
