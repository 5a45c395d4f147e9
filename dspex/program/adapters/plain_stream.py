"""The fields of a plain reply while it comes: what stands behind the labels, up to where a label may begin."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dspex.program.adapters.base import Escape

if TYPE_CHECKING:
    from dspex.plugin.adapters import FieldPieces

HELD_LIMIT = 8_192  # more is not held: the rest of the reply comes at its end


class Form(NamedTuple):
    """Labels by field's name and names by folded label, the pattern of a label at a line's start, what hides one in a value."""

    labels: dict[str, str]
    names: dict[str, str]
    label: re.Pattern[str]
    escape: Escape


class PlainStream:
    """Reads a reply as `PlainAdapter.parse` does; it is over where an input's label comes, or a field's for a second time."""

    __slots__ = (
        "_before",
        "_begun",
        "_field",
        "_form",
        "_is_fresh",
        "_is_opened",
        "_is_over",
        "_outputs",
        "_pending",
    )

    def __init__(self, form: Form, outputs: Sequence[str]) -> None:
        self._form = form
        self._outputs = outputs
        self._field = outputs[0]
        self._begun: set[str] = set()
        self._before = "\n"  # the character before what is pending
        self._pending = ""
        self._is_opened = False  # whether it is known if the reply begins with the first label
        self._is_fresh = True  # nothing of this field's value has come
        self._is_over = False

    def feed(self, text: str) -> "FieldPieces":
        """Fields and what is certain of their values; an empty piece says that a field begins, and ends the one before."""
        found: list[tuple[str, str]] = []
        if self._is_over:
            return found
        is_inside = not (self._pending or self._is_fresh or self._before == "\n")  # of a line, where no label begins
        if is_inside and "\n" not in text and text and not text[-1].isspace():
            self._before = text[-1]
            return ((self._field, text),)
        self._pending += text
        if self._is_opened or self._opened(found, is_whole=False):
            while self._enter_next(found, is_whole=False):
                pass
            self._give(found, self._open_end())
        if len(self._pending) > HELD_LIMIT:
            self._is_over = True
        return found

    def end(self) -> "FieldPieces":
        """What was held back, now that nothing more comes."""
        found: list[tuple[str, str]] = []
        if self._is_over or not (self._is_opened or self._opened(found, is_whole=True)):
            return found
        while self._enter_next(found, is_whole=True):
            pass
        self._give(found, len(self._pending))
        self._is_over = True
        return found

    def _opened(self, found: list[tuple[str, str]], *, is_whole: bool) -> bool:
        """Whether it is known if the model repeats the label that the prompt ends with; if not, its value has begun."""
        text, label = self._pending.lstrip().casefold(), self._form.labels[self._field].casefold()
        if not is_whole and len(text) < len(label) and label.startswith(text):
            return False
        self._is_opened = True
        if text.startswith(label):
            return True  # it is gone past as all labels are
        self._begun.add(self._field)
        self._before = " "
        found.append((self._field, ""))
        return True

    def _enter_next(self, found: list[tuple[str, str]], *, is_whole: bool) -> bool:
        """Go past the next label, if a whole one is there."""
        text = self._before + self._pending
        mark = None if self._is_over else self._form.label.search(text, 1)
        if mark is None or not (is_whole or self._is_sure(text[mark.start() :])):
            return False
        name = self._form.names[mark[0].casefold()]
        self._give(found, mark.start() - 1)
        self._before, self._pending = text[mark.end() - 1], text[mark.end() :]
        if name not in self._outputs or name in self._begun:
            self._is_over = True
            return False
        self._field, self._is_fresh = name, True
        self._begun.add(name)
        found.append((name, ""))
        return True

    def _is_sure(self, text: str) -> bool:
        """Whether no longer label can come of what begins with one."""
        folded = text.casefold()
        return not any(len(label) > len(folded) and label.startswith(folded) for label in self._form.names)

    def _open_end(self) -> int:
        """From where on more text may make a label, or one that is hidden, of what is pending."""
        pending = self._pending
        start = pending.rfind("\n") + 1
        margin = len(pending) - len(pending.lstrip())
        if self._is_fresh and start <= margin:
            start = margin  # a value begins where a label may be hidden, wherever it stands
        elif not start and self._before != "\n":
            return len(pending)
        line = pending[start:].lstrip("\\").casefold()
        return start if any(label.startswith(line) for label in self._form.names) else len(pending)

    def _give(self, found: list[tuple[str, str]], end: int) -> None:
        """What is pending up to there, without the space at its edges."""
        piece = self._pending[:end]
        if self._is_fresh:
            margin = len(piece) - len(piece.lstrip())
            if margin:
                self._before, self._pending = piece[margin - 1], self._pending[margin:]
            piece = piece[margin:]
        piece = piece.rstrip()
        if not piece or not self._begun or self._is_over:
            return
        escape, begins_line = self._form.escape, self._is_fresh or self._before == "\n"
        found.append((self._field, escape.show(piece) if begins_line else escape.show(f".{piece}")[1:]))
        self._is_fresh = False
        self._before, self._pending = piece[-1], self._pending[len(piece) :]
