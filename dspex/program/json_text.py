"""JSON out of a model's text: with fences, prose around it, Python's spelling or small faults in it.

What can be read in two ways is not read: a key with two values, two different objects, what is cut off, words that a
repair would drop.
"""

import ast
import importlib
import io
import re
import tokenize
import types
from typing import Any

import msgspec

from dspex.program.finite import is_infinite

UNREADABLE = (ValueError, RecursionError)
FENCED = re.compile(r"```[\w+-]*[ \t]*\n(.*?)```", re.DOTALL)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?', re.DOTALL)
_NO_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[^][}{"]', re.DOTALL)
_CONTROL = re.compile(r"[\n\t\r]")
_SIDE_BY_SIDE = re.compile(r"[\w.]\s+[\w.]")
_WORD = re.compile(r"[\w.+-]+")


def read_json(text: str) -> Any:
    """JSON data out of a text; json-repair mends small faults if installed. Raises ValueError."""
    text = text.strip()
    if (value := _decoded(text)) is not msgspec.UNSET:
        return value
    starts = [text.find(bracket) for bracket in "[{" if bracket in text]
    inner = text[min(starts) : max(text.rfind("]"), text.rfind("}")) + 1] if starts else ""
    for parts in (FENCED.findall(text), [inner]):
        found = [value for part in parts if (value := _decoded(part)) is not msgspec.UNSET]
        if any(value != found[0] for value in found):
            raise ValueError("it has several JSON values that differ")
        if found:
            return found[0]
    if text[:1] + text[-1:] == "()":  # a tuple in Python's spelling
        return _mended(text)
    if not _is_whole(inner):
        raise ValueError("its JSON is cut off or broken" if starts else "it is not JSON")
    return _mended(inner)


def refuse_doubles(text: str) -> None:
    """Raises ValueError if an object of this JSON names a key twice with different values."""
    try:
        whole = msgspec.json.encode(msgspec.json.decode(text)).count(b":")
    except UNREADABLE:
        whole = -1
    # A key that is dropped takes its colon along; only an escape could put another in its place.
    if whole != text.count(":") or "\\u003" in text:
        import json

        json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if made.setdefault(key, value) != value:
            raise ValueError(f"its JSON has two values for {key!r}")
    return made


def _decoded(text: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE:
        return _with_line_ends(text)
    refuse_doubles(text)
    return value


def _with_line_ends(text: str) -> Any:
    """JSON whose strings run over several lines, as models write code and poems."""
    if _CONTROL.search(text) is None:
        return msgspec.UNSET
    import json

    try:
        value = _finite(json.loads(text, strict=False))
    except UNREADABLE:
        return msgspec.UNSET
    json.loads(text, strict=False, object_pairs_hook=_once)
    return value


def _finite(value: Any) -> Any:
    if is_infinite(value):
        raise ValueError("its numbers are not finite")
    return value


def _is_whole(text: str) -> bool:
    """Whether brackets open and close around one value."""
    depth = 0
    brackets = _NO_BRACKET.sub("", text)
    for index, bracket in enumerate(brackets, 1):
        depth += 1 if bracket in "[{" else -1
        if depth < 1:
            return index == len(brackets) and depth == 0
    return False


def _mended(text: str) -> Any:
    try:
        if not re.search(r"\\(?![\\\"'bfnrt])", text):  # one that JSON and Python read alike, and without a warning
            return _finite(_literal(text))
    except (*UNREADABLE, SyntaxError, MemoryError, TypeError, tokenize.TokenError):
        pass
    try:  # json-repair reads escapes wrongly
        mended = None if "\\" in text else importlib.import_module("json_repair").loads(text)
    except Exception as error:  # absent, or a bug in it over text from anywhere
        raise ValueError("its JSON is broken") from error
    if not isinstance(mended, (dict, list)) or _SIDE_BY_SIDE.search(_STRING.sub('""', text)) or _lost(text, mended):
        raise ValueError("its JSON is broken")
    return _finite(mended)


def _literal(text: str) -> Any:
    """Python's spelling, but for what JSON has not, as sets, and strings side by side, which Python joins."""
    before = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == before == tokenize.STRING:
            raise ValueError("a comma is missing")
        before = before if token.type in (tokenize.NL, tokenize.COMMENT) else token.type
    tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        keys = [ast.dump(key) for key in getattr(node, "keys", []) if key is not None]
        is_alien = isinstance(node, ast.Set) or isinstance(
            getattr(node, "value", None), (bytes, complex, types.EllipsisType)
        )
        if is_alien or len(set(keys)) < len(keys):
            raise ValueError("no JSON has that")
    return ast.literal_eval(tree)


def _lost(text: str, mended: Any) -> bool:
    """Whether a repair dropped or moved a word, or took for text what no quotes say is text."""
    import json

    kept = json.dumps(mended, ensure_ascii=False)
    quoted = {
        *re.findall(r"""(?<=["']).*?(?=["'])""", text, re.DOTALL),
        *(string for string, _ in _STRING.findall(text)),
    }
    words = (string for string, _ in _STRING.findall(kept) if string not in quoted)
    return _letters(text) != _letters(kept) or not all(map(_WORD.fullmatch, words))


def _letters(text: str) -> str:
    return re.sub(r"[^\w.]|_", "", text).casefold()
