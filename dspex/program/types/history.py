"""History: earlier turns of a conversation, as an input."""

from collections.abc import Mapping, Sequence
from typing import Any

from dspex.core.errors import InputError
from dspex.program.types.base import Type


class History(Type):
    """Earlier turns, each a record of the signature's fields; they become turns of their own before the question.

    `messages` may be appended to. Raises InputError for a turn that is no record.
    """

    readable = False
    messages: list[dict[str, Any]]

    def __init__(self, messages: Sequence[Mapping[str, Any]] = ()) -> None:
        wrong = [turn for turn in messages if not hasattr(turn, "keys")]
        if wrong:
            raise InputError(f"A turn of a History is a dictionary of fields, not {wrong[0]!r:.60}.")
        vars(self).update(messages=[dict(turn) for turn in messages])


class Turns(History):
    """The turns of one conversation that only grows. `kept` has how each looks to a model, which is made once.

    It is found by the turn's calls, as long as somebody holds them; the first turn may change, and is made each time.
    """

    __slots__ = ("kept",)  # not a field: nothing of it is shown or saved

    def __init__(self, messages: Sequence[Mapping[str, Any]], kept: dict[int, Any]) -> None:
        vars(self).update(messages=[dict(turn) for turn in messages])
        object.__setattr__(self, "kept", kept)
