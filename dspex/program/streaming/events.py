"""What a streamed program sends."""

import msgspec


class StatusMessage(msgspec.Struct, frozen=True):
    """What the program is doing, in words."""

    message: str


class StreamResponse(msgspec.Struct, frozen=True):
    """A piece of a field's text, as the model writes it; the last one may be empty.

    `run` counts the calls of the predictor from 0. The pieces of one run with the highest `version`, joined, are the
    field's text: a new version begins where what was sent does not hold, because the model was asked again or the reply
    turned out to mean something else.
    """

    predict_name: str
    signature_field_name: str
    chunk: str
    is_last_chunk: bool
    run: int = 0
    version: int = 0
