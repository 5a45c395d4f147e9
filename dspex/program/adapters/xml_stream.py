"""The fields of an XML reply while it comes: what stands between a field's tags, up to where a tag may begin."""

import re
from typing import TYPE_CHECKING, Protocol

from dspex.program.compiled import CompiledSignature

if TYPE_CHECKING:
    from dspex.plugin.adapters import FieldPieces

HELD_LIMIT = 8_192  # more is not held: the rest of the reply comes at its end
CDATA_END = "]]>"


class Tags(Protocol):
    """What is known of the fields' tags; `tag` finds one, or what begins CDATA, `open_end` what may yet become one."""

    tag: re.Pattern[str]
    open_end: re.Pattern[str]

    def name(self, mark: re.Match[str]) -> str | None:
        """The field that a tag is of."""

    def kind(self, mark: re.Match[str]) -> str:
        """Whether it is open, close or empty."""

    def show(self, text: str) -> str:
        """A whole value as it was."""

    def unhidden(self, text: str) -> str:
        """Tags in a value as they were."""


class XMLStream:
    """Reads a reply as `XMLAdapter.parse` does where each tag that opens is closed.

    A value that begins with CDATA comes when it is whole, one that is written in tags is not given. It stops where a field
    is there twice.
    """

    __slots__ = (
        "_begun",
        "_depth",
        "_found",
        "_is_data",
        "_is_fresh",
        "_is_over",
        "_is_silent",
        "_outer",
        "_pending",
        "_place",
        "_tags",
        "_texts",
    )

    def __init__(self, compiled: CompiledSignature, tags: Tags) -> None:
        self._tags = tags
        self._texts = {field.name: field.annotation is str for field in compiled.outputs}
        self._begun: set[str] = set()
        self._found: list[tuple[str, str]] = []
        self._outer: str | None = None  # the field whose value comes
        self._depth = 0  # of its own tags in it
        self._pending = ""
        self._place = 0  # how far that has been looked through
        self._is_fresh = True  # nothing of this field's value has come
        self._is_data = False
        self._is_silent = False
        self._is_over = False

    def feed(self, text: str) -> "FieldPieces":
        """Fields and what is certain of their values; an empty piece says that a field begins, and ends the one before."""
        if self._is_over:
            return ()
        is_plain = not (self._pending or self._is_fresh or self._is_silent or "<" in text or "&" in text)
        if is_plain and self._outer is not None and not text[-1:].isspace():
            return ((self._outer, text),)
        self._pending += text
        end = None
        while end is None and (mark := self._tags.tag.search(self._pending, self._place)):
            end = self._data(mark) if mark[2] is None else self._after(mark)
        if not self._is_over:
            self._give(self._open_end() if end is None else end)
        found, self._found = self._found, []
        return found

    def end(self) -> "FieldPieces":
        """Nothing: a value whose tag was never closed is known when the reply is read as a whole."""
        return ()

    def _data(self, mark: re.Match[str]) -> int | None:
        """Go past CDATA, or hold what comes from there on until its end is there."""
        end = self._pending.find(CDATA_END, mark.end())
        if self._outer and self._is_fresh and not self._pending[: mark.start()].strip():
            self._is_data = True
        if end < 0:
            return mark.start()
        self._place = end
        return None

    def _after(self, mark: re.Match[str]) -> int | None:
        """Go past a tag; a place to stop at where the reply is no longer followed."""
        name, kind = self._tags.name(mark), self._tags.kind(mark)
        self._place = mark.end()
        if self._outer is None and name is not None:
            if kind == "close" or name not in self._texts or name in self._begun:
                self._is_over = True
                return 0
            self._opened(name, kind)
        elif name == self._outer and kind != "empty":
            self._depth += 1 if kind == "open" else -1
            if self._depth == 0:
                self._closed(mark)
        return None

    def _opened(self, name: str, kind: str) -> None:
        self._pending, self._place = self._pending[self._place :], 0
        self._begun.add(name)
        self._found.append((name, ""))
        if kind == "open":
            self._outer, self._depth = name, 1
            self._is_fresh, self._is_data, self._is_silent = True, False, False

    def _closed(self, mark: re.Match[str]) -> None:
        text, rest = self._pending[: mark.start()], self._pending[mark.end() :]
        if not self._is_data:
            self._give(mark.start())
        elif self._outer is not None and not self._is_silent:
            self._found.append((self._outer, self._tags.show(text)))
        self._outer, self._pending, self._place = None, rest, 0

    def _open_end(self) -> int:
        held = self._tags.open_end.search(self._pending)
        return held.start() if held else len(self._pending)

    def _give(self, end: int) -> None:
        """What is pending up to there, without the space at its edges; only tags are of interest outside of values."""
        piece = self._pending[:end]
        if self._outer is None:
            return self._drop(end)
        if self._is_fresh:
            start = len(piece) - len(piece.lstrip())
            self._drop(start)
            piece = piece[start:]
            # In tags, or a text that looks so.
            self._is_silent = piece[:1] in ("<", "&") and not self._texts[self._outer]
        if self._is_data:
            return self._hold()
        piece = piece.rstrip()
        if piece:
            self._is_fresh = False
            if not self._is_silent:
                self._found.append((self._outer, self._tags.unhidden(piece)))
            self._drop(len(piece))
        return self._hold()

    def _drop(self, count: int) -> None:
        self._pending = self._pending[count:]
        self._place = max(0, self._place - count)

    def _hold(self) -> None:
        if len(self._pending) > HELD_LIMIT:
            self._is_over = True
