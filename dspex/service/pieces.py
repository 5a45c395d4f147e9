"""A reply in pieces, and whole."""

from collections.abc import Sequence

from dspex.core.messages import Choice, LMDelta, LMResponse


def whole(pieces: Sequence[LMDelta]) -> LMResponse:
    """The reply that came in these pieces."""
    choice = Choice(
        "".join(piece.text for piece in pieces),
        tuple(call for piece in pieces for call in piece.tool_calls),
        next((piece.finish_reason for piece in reversed(pieces) if piece.finish_reason), None),
        reasoning="".join(piece.reasoning or "" for piece in pieces) or None,
    )
    return LMResponse((choice,), next((piece.usage for piece in reversed(pieces) if piece.usage), None))


def last_piece(reply: LMResponse, text: str | None = None) -> LMDelta:
    """The last piece of a reply; with all of its text, if no other is given."""
    choice = reply.choices[0]
    said = choice.text if text is None else text
    return LMDelta(said, choice.tool_calls, choice.finish_reason or "stop", reply.usage, choice.reasoning)
