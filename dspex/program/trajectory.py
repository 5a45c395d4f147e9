"""Trajectory: what an agent has done so far, as data, and as a text of bounded length for the model to read."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from dspex.program.types.media import Image, Media
from dspex.program.types.observed import media_in, text_of
from dspex.program.values import render

NONE_YET = "(no steps yet)"
EARLIER = "Earlier steps, summed up:"
_LINE = 160  # characters of an observation in a summary without a model
_SHARE = 4  # a value may have one part in so many of the whole text

Summarise = Callable[[str, int], Awaitable[str]]


class Step(msgspec.Struct, frozen=True):
    """One step: its data by name, and the text that the model reads; `begins` is False behind another of its turn.

    `media` are the pictures, sounds and files in what a tool gave.
    """

    data: Mapping[str, Any]
    text: str
    begins: bool = True
    media: tuple[Media, ...] = ()


class Trajectory:
    """Steps in order. All are kept as data; of those that no longer fit into `limit` characters the model reads a summary.

    Each step is made a text once and summed up once, so that all handling together is linear in the steps.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.steps: list[Step] = []
        self.summary = ""
        self.first = 0  # the first step that is not in the summary
        self._length = 0

    @property
    def most(self) -> int:
        """Characters that one value may have."""
        return max(1, self.limit // _SHARE)

    def add(self, thought: str, tool: str, args: Mapping[str, Any], observation: Any, *, begins: bool = True) -> None:
        """One more call, and what it gave; `tool` is empty for a reply that named none."""
        rows = {
            "thought": thought,
            "call": f"{tool} {render(dict(args))}" if tool else "",
            "result": text_of(observation),
        }
        data = {"thought": thought, "tool_name": tool, "tool_args": dict(args), "observation": observation}
        self.put(rows, data, begins=begins, media=media_in(observation))

    def put(
        self, rows: Mapping[str, str], data: Mapping[str, Any], *, begins: bool = True, media: tuple[Media, ...] = ()
    ) -> None:
        """One more step: the `rows` that are not empty are read, `data` is kept; `begins` False: of the same turn."""
        most = self.most
        # Lines of a value are indented, so that none can look like a step of its own.
        lines = [f"{name}: {short(value, most)}".replace("\n", "\n    ") for name, value in rows.items() if value]
        text = "\n  ".join([f"Step {len(self.steps) + 1}", *lines])
        self.steps.append(Step(data, text, begins, media))
        self._length += len(text) + 1

    @property
    def is_long(self) -> bool:
        """Whether it is longer than its limit."""
        return self._length + len(self.summary) > self.limit

    @property
    def text(self) -> str:
        """As the model reads it."""
        if not self.steps:
            return NONE_YET
        return "\n".join([*self.opening, *(step.text for step in self.steps[self.first :])])

    @property
    def pictures(self) -> tuple[Image, ...]:
        """Those that tools gave in the steps that are shown."""
        return tuple(one for step in self.steps[self.first :] for one in step.media if isinstance(one, Image))

    @property
    def opening(self) -> tuple[str, ...]:
        """What is said of steps that are not shown."""
        return (f"{EARLIER}\n{self.summary}".replace("\n", "\n  "),) if self.summary else ()

    async def shorten(self, limit: int, summarise: Summarise) -> bool:
        """Sum up the oldest turns, so that about half of `limit` is left for further ones; the last turn always stays.

        Returns False if there is nothing to sum up.
        """
        end, length = self.first, self._length
        left = length
        for place in range(self.first + 1, len(self.steps)):
            left -= len(self.steps[place - 1].text) + 1
            if self.steps[place].begins:
                end, length = place, left
                if length <= limit // 2:
                    break
        if end == self.first:
            return False
        folded = "\n".join([*self.opening, *(step.text for step in self.steps[self.first : end])])
        most = max(1, limit // _SHARE)
        self.summary = short(await summarise(folded, most), most)
        self.first, self._length = end, length
        return True

    def flat(self) -> dict[str, Any]:
        """All steps as DSPy has them: `thought_0`, `tool_name_0`, `tool_args_0`, `observation_0`, ..."""
        return {f"{name}_{index}": value for index, step in enumerate(self.steps) for name, value in step.data.items()}


def listed(text: str, most: int) -> str:
    """A summary that no model is asked for: the calls, and the beginnings of what they gave."""
    rows = [line for line in text.splitlines() if line[:2] == "  " and line[2:3] != " "]
    return short("\n".join(short(row.strip(), _LINE) for row in rows), most)


def short(text: str, most: int) -> str:
    """The text, or its beginning and end and how much is missing between."""
    if len(text) <= most:
        return text
    left = most * 2 // 3
    return f"{text[:left]} ... ({len(text) - most} characters left out) ... {text[len(text) - (most - left) :]}"
