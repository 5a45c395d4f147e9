"""What goes into an index: passages and ids, looked at before a plugin has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex.core.errors import ConfigurationError, InputError
from dspex.core.identity import digest, plain
from dspex.core.messages import Passage
from dspex.core.where import is_kept


def checked_passage(place: int, item: Any) -> Passage:
    """A passage with an id, and metadata that any index can keep. Raises InputError."""
    if not isinstance(item, (str, Passage)):
        raise InputError(f"add takes Passages and texts; item {place} is {item!r:.60}.")
    passage = Passage(item) if isinstance(item, str) else item
    for text in (passage.text, passage.id):
        check_text(text, f"Passage {place}")
    metadata = _checked_metadata(place, passage.metadata)
    name = passage.id or _named(place, passage)
    return msgspec.structs.replace(passage, id=name, metadata=metadata)


def checked_ids(given: Sequence[str]) -> list[str]:
    """Ids, as `delete` takes them. Raises InputError."""
    if isinstance(given, str):
        raise InputError(f"delete takes a list of ids; for one: delete([{given!r}]).")
    names = list(given)
    for place, name in enumerate(names):
        check_text(name, f"Id {place}")
    return names


def check_text(text: Any, what: str) -> None:
    """Raises InputError for what is no text that can be written."""
    if not isinstance(text, str):
        raise InputError(f"{what} has {text!r:.60} where a text belongs.")
    place = _half(text)
    if place is not None:
        raise InputError(f"{what} has half of a surrogate pair at {place}, which no index can hold.")


def _named(place: int, passage: Passage) -> str:
    try:
        return digest([passage.text, dict(passage.metadata)])
    except ConfigurationError as error:
        raise InputError(f"The metadata of passage {place} is no JSON data: {passage.metadata!r:.80}.") from error


def _checked_metadata(place: int, given: Any) -> Mapping[str, Any]:
    if not given and isinstance(given, Mapping):
        return given
    made: Any = None
    try:
        made = plain(given)
        wrong = _not_kept(made) if isinstance(made, dict) else "no dictionary"
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        wrong = str(error) or type(error).__name__
    if wrong:
        raise InputError(
            f"The metadata of passage {place} is no JSON data: {wrong}. Texts, finite numbers of 64 bits, booleans, None, lists "
            f"and dictionaries of these are kept; it is {given!r:.80}."
        )
    return made  # type: ignore[no-any-return]  # looked at above


def _not_kept(value: Any) -> str:
    """What an index could not keep as it is; empty for what it can."""
    if isinstance(value, str):
        return "" if value.isascii() or _half(value) is None else f"half of a surrogate pair in {value!r:.40}"
    if isinstance(value, dict):
        found = ((str(key), _not_kept(key) or _not_kept(one)) for key, one in value.items())
        return next((f"{key!r:.40}: {wrong}" for key, wrong in found if wrong), "")
    if isinstance(value, (list, tuple)):
        return next(filter(None, map(_not_kept, value)), "")
    if isinstance(value, float):
        return "" if is_kept(value) else f"{value!r} is no number"
    if isinstance(value, int):
        return "" if is_kept(value) else f"{value:.3g} has more than 64 bits"
    return ""


def _half(text: str) -> int | None:
    """Where half of a surrogate pair stands, which cannot be written; None for nowhere."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None
