"""The fields of a chat reply while it comes: what is certain is given at once, what may be a marker is held back."""

import re
from typing import TYPE_CHECKING

from dspex.program.adapters.base import Escape
from dspex.program.compiled import CompiledSignature

if TYPE_CHECKING:
    from dspex.plugin.adapters import FieldPieces

_NAME = r"\[\[[ \t]*##[ \t]*(\w+)[ \t]*##[ \t]*\]\]"
_LINE_MARK = re.compile(rf"(?<=\n)([ \t>*#-]*){_NAME}")
_ANY_MARK = re.compile(rf"(?<!\\)(){_NAME}")
_END = re.compile(r"(?<!\\)\[\[[ \t]*##[ \t]*completed[ \t]*##[ \t]*\]\]\s*\Z")
# Ends that more text may turn into a marker, into an escape or into the end of the value.
_BEGUN_MARK = r"\[(?:\[[ \t]*(?:#(?:#[ \t]*\w*[ \t]*(?:#(?:#[ \t]*(?:\](?:\]\**\s*)?)?)?)?)?)?)?"
_OPEN_END = re.compile(rf"(?:(?<=\n)[ \t>*#-]*(?:{_BEGUN_MARK})?|\\*{_BEGUN_MARK}|\\+)\Z")
_ESCAPE = Escape(r"\[\[[ \t]*##")
_HELD_LIMIT = 8_192  # more is not held: the rest of the reply comes as one piece at its end


class ChatStream:
    """Reads a reply as `ChatAdapter.parse` does, as far as one can before its end.

    Where a reply goes on after its end marker, or has a field twice, nothing more is given: which of them counts is
    known at the end only.
    """

    __slots__ = (
        "_before",
        "_begun",
        "_field",
        "_is_fresh",
        "_is_over",
        "_is_single",
        "_known",
        "_outputs",
        "_pending",
        "_stars",
    )

    def __init__(self, compiled: CompiledSignature) -> None:
        self._known = {name.casefold(): name for name in ("completed", *compiled.fields)}
        self._outputs = {field.name for field in compiled.outputs}
        self._field: str | None = None
        self._begun: set[str] = set()
        self._before = "\n"  # the character before what is pending
        self._pending = ""
        self._is_fresh = True  # nothing of this field's value has come
        self._is_single = True  # as long as all stands in one line, a marker may stand anywhere in it
        self._is_over = False
        self._stars = ""

    def feed(self, text: str) -> "FieldPieces":
        """Fields and what is certain of their values; an empty piece says that a field begins, and ends the one before."""
        if self._is_over:
            return ()
        field = self._field
        if (
            field
            and not (self._pending or self._is_fresh or self._is_single)
            and not ("\n" in text or "[" in text or "\\" in text or text[-1:].isspace())
        ):
            self._before = text[-1:] or self._before
            return ((field, text),)
        self._pending += text
        found: list[tuple[str, str]] = []
        while self._enter_next(found):
            pass
        if not self._is_over:
            self._give(found)
        return found

    def end(self) -> "FieldPieces":
        """What was held back, now that nothing more comes."""
        if self._is_over or self._field is None:
            return ()
        self._is_over = True
        text = self._pending if "completed" in self._outputs else _END.sub("", self._before + self._pending)[1:]
        rest = _ESCAPE.show(text.rstrip())
        return ((self._field, rest),) if rest else ()

    def _enter_next(self, found: list[tuple[str, str]]) -> bool:
        """Go past the next marker, if a whole one is there."""
        self._skip_margin()
        text = self._before + self._pending
        if self._is_single and "\n" in (self._pending if self._field else self._pending.lstrip()):
            self._is_single = False
        pattern = _ANY_MARK if self._is_single else _LINE_MARK
        mark = next((mark for mark in pattern.finditer(text, 1) if mark[2].casefold() in self._known), None)
        if mark is None:
            return False
        if self._is_single and self._field:  # a second line would make this marker a part of the value
            self._is_over = True
            return False
        if self._field and (rest := _ESCAPE.show(text[1 : mark.start()].rstrip())):
            found.append((self._field, rest))
        name = self._known[mark[2].casefold()]
        self._before, self._pending = text[mark.end() - 1], text[mark.end() :]
        self._stars = "*" if "*" in mark[1] else ""
        self._is_fresh, self._field = True, name
        if name not in self._outputs or name in self._begun:
            self._is_over, self._field = True, None
            return False
        self._begun.add(name)
        found.append((name, ""))
        return True

    def _skip_margin(self) -> None:
        """Drop the space before a value, and what a bold marker leaves."""
        if not self._is_fresh or self._field is None:
            return
        if self._stars and self._pending:
            self._pending = self._pending.lstrip("*")
            self._stars = "" if self._pending else "*"
        value = self._pending.lstrip()
        if "\n" in self._pending[: len(self._pending) - len(value)]:
            self._before = "\n"
            self._is_single = False
        self._pending = value

    def _give(self, found: list[tuple[str, str]]) -> None:
        """The part of what is pending that no further text can change."""
        text = self._before + self._pending
        if self._is_single and self._field and "[[" in self._pending:
            return self._hold(text)
        held = _OPEN_END.search(text, 1)
        cut = max(1, len(text[: held.start() if held else len(text)].rstrip()))
        if self._field is None:
            # Before the first marker only the line that it may stand in is of interest.
            self._before, self._pending = (
                (text[cut - 1], text[cut:]) if not self._is_single else (self._before, text[1:])
            )
        elif cut > 1:
            found.append((self._field, _ESCAPE.show(text[1:cut])))
            self._is_fresh = False
            self._before, self._pending = text[cut - 1], text[cut:]
        return self._hold(self._pending)

    def _hold(self, text: str) -> None:
        if len(text) > _HELD_LIMIT:
            self._is_over = True
