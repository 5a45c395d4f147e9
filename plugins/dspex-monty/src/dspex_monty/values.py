"""What code gives, as JSON data of bounded size."""

import json
import math
from typing import Any

LONG = 10_000  # bits of a number that is still written in digits


def bounded(value: Any, most: int) -> tuple[Any, bool]:
    """A value as JSON data, and False; or of what is longer than `most` characters as JSON its beginning, and True."""
    try:
        data = _plain(value)
        text = json.dumps(data, ensure_ascii=False)
    except (RecursionError, ValueError):
        return "(a value that is nested too deeply, or is part of itself)", True
    if len(text) <= most:
        return data, False
    return (data if isinstance(data, str) else text)[:most], True


def cut(text: str, most: int) -> tuple[str, bool]:
    """A text, or its beginning, and whether it was longer."""
    return text[:most], len(text) > most


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= LONG else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    return str(value)
