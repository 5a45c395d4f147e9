"""Calls that come beside a reply's text, as text of fields while they come."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from dspex.core.messages import ToolCallPiece

# Of a signature that is asked by calls in place of another one: that one's fields for the first call's name and arguments,
# under this key of its `templates`.
FIRST_CALL = "first call"


class Text(Protocol):
    """Where pieces of a field go."""

    def send(self, piece: str, *, is_last: bool = False) -> None:
        """Send a piece."""


class CallTexts:
    """The field of all calls, written as a prompt has it, and those of the first one's name and arguments; each may lack.

    Calls come one after the other. Where pieces of two take turns nothing more is sent: the fields come whole.
    """

    __slots__ = ("_arguments", "_calls", "_id", "_index", "_is_begun", "_is_broken", "_name", "_names", "_seen")

    def __init__(self, calls: Text | None, name: Text | None, arguments: Text | None) -> None:
        self._calls = calls
        self._name = name
        self._arguments = arguments
        self._seen: set[int] = set()
        self._index: int | None = None
        self._is_begun = self._is_broken = False
        self._names: list[str] = []
        self._id = ""

    def hear(self, pieces: Sequence[ToolCallPiece]) -> None:
        """Send what further pieces say."""
        for piece in pieces:
            if piece.index != self._index:
                self._next(piece.index)
            if self._is_broken:
                return
            if not self._is_begun:
                self._names.append(piece.name)
                self._id = piece.id or self._id
            if piece.arguments:
                self._say(piece.arguments)

    def end(self) -> None:
        """No more will come."""
        if self._index is None or self._is_broken:
            return
        self._close()
        if self._calls is not None:
            self._calls.send("]}")

    def _next(self, index: int) -> None:
        if index in self._seen:
            self._is_broken = True
            return
        if self._index is not None:
            self._close()
        self._seen.add(index)
        self._index, self._is_begun, self._names, self._id = index, False, [], ""

    def _say(self, arguments: str) -> None:
        """Send a piece of the arguments; the name, which may come in pieces too, is whole before them."""
        is_first = len(self._seen) == 1
        if not self._is_begun:
            self._begin("".join(self._names), is_first=is_first)
        if self._calls is not None:
            self._calls.send(arguments)
        if self._arguments is not None and is_first:
            self._arguments.send(arguments)

    def _begin(self, name: str, *, is_first: bool) -> None:
        self._is_begun = True
        if self._name is not None and is_first:
            self._name.send(name, is_last=True)
        if self._calls is not None:
            head = msgspec.json.encode({"name": name, **({"id": self._id} if self._id else {})}).decode()
            opening = '{"tool_calls":[' if is_first else ","
            self._calls.send(f'{opening}{head[:-1]},"args":')

    def _close(self) -> None:
        if not self._is_begun:
            self._say("{}")
        if self._calls is not None:
            self._calls.send("}")
