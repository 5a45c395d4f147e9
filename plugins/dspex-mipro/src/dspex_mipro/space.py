"""The programs to choose from: for each predictor some instructions and some sets of demonstrations."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex import Candidate, Demo


class Axis(msgspec.Struct, frozen=True):
    """One choice: the demonstrations or the instruction of a predictor."""

    path: str
    choices: tuple[Any, ...]
    is_demos: bool

    @property
    def name(self) -> str:
        """Its name in a point."""
        return f"{self.path}/{'demos' if self.is_demos else 'instruction'}"


class Space(msgspec.Struct, frozen=True):
    """All points; a point says by index which choice is taken on each axis."""

    student: Candidate
    axes: tuple[Axis, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of choices, by axis."""
        return {axis.name: len(axis.choices) for axis in self.axes}

    @property
    def size(self) -> int:
        """The number of points."""
        return math.prod(self.sizes.values())

    @property
    def origin(self) -> dict[str, int]:
        """The point of first choices."""
        return dict.fromkeys(self.sizes, 0)

    def candidate(self, point: Mapping[str, int]) -> Candidate:
        """The program of a point."""
        taken = [(axis, axis.choices[point[axis.name]]) for axis in self.axes]
        demos = {axis.path: choice for axis, choice in taken if axis.is_demos}
        own = {path: state.demos for path, state in self.student.predictors.items()}
        # What chooses among the student's own demos is a part of them.
        made = self.student.with_demos({path: choice for path, choice in demos.items() if choice != own[path]})
        return made.with_instructions({axis.path: choice for axis, choice in taken if not axis.is_demos})


def space_of(
    student: Candidate, instructions: Mapping[str, Sequence[str]], sets: Mapping[str, Sequence[tuple[Demo, ...]]]
) -> Space:
    """The space of these instructions and sets of demonstrations by predictor, each once; the first are the student's."""
    axes = [Axis(path, tuple(dict.fromkeys(texts)), is_demos=False) for path, texts in instructions.items()]
    axes += [Axis(path, distinct(some), is_demos=True) for path, some in sets.items()]
    return Space(student, tuple(axes))


def distinct(sets: Sequence[tuple[Demo, ...]]) -> tuple[tuple[Demo, ...], ...]:
    """The sets without repetitions: a search that meets one twice looks at it twice."""
    kept: list[tuple[Demo, ...]] = []
    for one in sets:
        if one not in kept:
            kept.append(one)
    return tuple(kept)
