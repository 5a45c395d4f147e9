"""A reply in pieces, and whole."""

from collections.abc import Sequence

import msgspec

from dspex.core.messages import Choice, LMDelta, LMResponse

MANY = 1_024


def drawn_together(pieces: list[LMDelta], start: int) -> int:
    """Make the pieces from `start` on one, and say where the next ones start.

    Who keeps a stream's pieces does so whenever there are MANY, so that a reply of single letters takes no more than its length.
    """
    reply = whole(pieces[start:])
    last = LMDelta.last_of(reply)
    pieces[start:] = [msgspec.structs.replace(last, finish_reason=reply.choices[0].finish_reason)]
    return len(pieces)


def whole(pieces: Sequence[LMDelta]) -> LMResponse:
    """The reply that came in these pieces."""
    choice = Choice(
        "".join(piece.text for piece in pieces),
        tuple(call for piece in pieces for call in piece.tool_calls),
        next((piece.finish_reason for piece in reversed(pieces) if piece.finish_reason), None),
        reasoning="".join(piece.reasoning or "" for piece in pieces) or None,
        thoughts=tuple(thought for piece in pieces for thought in piece.thoughts),
    )
    return LMResponse((choice,), next((piece.usage for piece in reversed(pieces) if piece.usage), None))
