"""The fields of a JSON reply while it comes: what stands in a string as it reads, everything else as it is written."""

import json
import re
from typing import TYPE_CHECKING, Any

from dspex.program.compiled import CompiledSignature

if TYPE_CHECKING:
    from dspex.plugin.adapters import FieldPieces

HELD_LIMIT = 8_192  # more of a key or an escape is not held: the rest of the reply comes at its end

_SPACE = " \t\r\n"
_BODY = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
# Ends of a string's text that mean something else when more of it comes: half an escape, the first of two surrogates.
_OPEN_END = re.compile(r"(?<!\\)(?:\\\\)*(\\u[0-9a-fA-F]{0,3}|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\u[0-9a-fA-F]{0,3})?)\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SCALAR_END = re.compile(rf"[,}}\]{_SPACE}]")
_NESTED = re.compile(r'["\[\]{}]')


class JSONStream:
    """Reads the first object of a reply, which is its only one in our form.

    It stops where a key is there twice, and where the text is no JSON: that may be mended, when it is whole.
    """

    __slots__ = (
        "_begun",
        "_depth",
        "_exact",
        "_field",
        "_folded",
        "_found",
        "_in_string",
        "_in_value",
        "_pending",
        "_step",
        "_text",
    )

    def __init__(self, compiled: CompiledSignature) -> None:
        self._exact = {field.name: field for field in compiled.outputs}
        self._folded = {field.name.casefold(): field for field in compiled.outputs}
        self._begun: set[str] = set()
        self._step: Any = self._start
        self._pending = ""
        self._found: list[tuple[str, str]] = []
        self._field: str | None = None  # the output whose value comes, None: a value that is not given
        self._text = False  # whether that is a field of text
        self._depth = 0
        self._in_string = False
        self._in_value = False  # whether that is a string

    def feed(self, text: str) -> "FieldPieces":
        """Fields and what is certain of their values; an empty piece says that a field begins, and ends the one before."""
        if self._in_value and self._field and not self._pending and not ('"' in text or "\\" in text):
            return ((self._field, text),)
        if self._step is None:
            return ()
        self._pending += text
        while self._step is not None and self._step():
            pass
        if len(self._pending) > HELD_LIMIT:
            self._stop()
        found, self._found = self._found, []
        return found

    def end(self) -> "FieldPieces":
        """Nothing: what is certain has been given."""
        return ()

    # Each step takes what it can of what is pending, and says whether it made way for the next one.

    def _start(self) -> bool:
        _, brace, self._pending = self._pending.partition("{")
        return self._goes_on_with(self._key) if brace else False

    def _key(self) -> bool:
        rest = self._pending.lstrip(_SPACE + ",")
        if not rest:
            return False
        if rest[0] != '"':  # the end, or no JSON
            return self._stop()
        end = 1 + len(_BODY.match(rest, 1)[0])  # type: ignore[index]  # it matches nothing too
        after = rest[end + 1 :].lstrip(_SPACE)
        if rest[end : end + 1] != '"' or not after:
            return False
        if after[0] != ":" or not self._named(rest[: end + 1]):
            return self._stop()
        self._pending = after[1:]
        return self._goes_on_with(self._value)

    def _named(self, written: str) -> bool:
        """Whether that key begins a value that may be read."""
        try:
            key = str(json.loads(written, strict=False))
        except ValueError:
            return False
        field = self._exact.get(key) or self._folded.get(key.casefold())
        self._field, self._text = (None, False) if field is None else (field.name, field.annotation is str)
        if field is None:
            return True
        if field.name in self._begun:
            return False
        self._begun.add(field.name)
        self._found.append((field.name, ""))
        return True

    def _value(self) -> bool:
        self._pending = self._pending.lstrip(_SPACE)
        first = self._pending[:1]
        if not first:
            return False
        if first == '"':
            self._pending, self._in_value = self._pending[1:], True
            return self._goes_on_with(self._string)
        if self._text:  # what a text is made of that stands there as something else is known at the end only
            self._field = None
        if first in "[{":
            self._depth = 0
            return self._goes_on_with(self._nested)
        return self._goes_on_with(self._scalar)

    def _string(self) -> bool:
        pending = self._pending
        if '"' not in pending and "\\" not in pending:
            self._pending = ""
            self._give(pending)
            return False
        end = len(_BODY.match(pending)[0])  # type: ignore[index]  # as above
        is_closed = pending[end : end + 1] == '"'
        body, self._pending = pending[:end], pending[end + is_closed :]
        if not is_closed and (held := _OPEN_END.search(body)):
            body, self._pending = body[: held.start(1)], body[held.start(1) :] + self._pending
        if "\\" in body:
            try:
                body = json.loads(f'"{body}"', strict=False)
            except ValueError:
                return self._stop()
        if _SURROGATE.search(body):
            return self._stop()
        self._give(body)
        if not is_closed:
            return False
        self._in_value = False
        return self._goes_on_with(self._key)

    def _scalar(self) -> bool:
        end = _SCALAR_END.search(self._pending)
        if end is None:
            return False
        self._give(self._pending[: end.start()])
        self._pending = self._pending[end.start() :]
        return self._goes_on_with(self._key)

    def _nested(self) -> bool:
        """A list or an object as it is written, to the bracket that closes it."""
        text, place = self._pending, 0
        while place < len(text):
            if self._in_string:
                place += len(_BODY.match(text, place)[0])  # type: ignore[index]  # as above
                if text[place : place + 1] != '"':
                    break  # at the end, or before half an escape
                self._in_string, place = False, place + 1
                continue
            mark = _NESTED.search(text, place)
            if mark is None:
                place = len(text)
                break
            place = mark.end()
            if mark[0] == '"':
                self._in_string = True
                continue
            self._depth += 1 if mark[0] in "[{" else -1
            if self._depth == 0:
                self._give(text[:place])
                self._pending = text[place:]
                return self._goes_on_with(self._key)
        self._give(text[:place])
        self._pending = text[place:]
        return False

    def _give(self, piece: str) -> None:
        if self._field is not None and piece:
            self._found.append((self._field, piece))

    def _goes_on_with(self, step: Any) -> bool:
        self._step = step
        return True

    def _stop(self) -> bool:
        self._step, self._pending, self._in_value = None, "", False
        return False
