"""What a user may set about the model, as keywords of `dspex.Embedder`."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from dspex.plugin import ConfigurationError


class MiniLMOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Embedder("minilm/...")`.

    `max_tokens`: what of a text is read, its first word pieces; the model was trained on 128 and is used with 256.
    `threads`: None is one a core, at most four.
    """

    max_tokens: Annotated[int, msgspec.Meta(ge=8, le=512)] = 256
    threads: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None


def read_options(given: Mapping[str, Any]) -> MiniLMOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(dict(given), MiniLMOptions)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the minilm embedder is wrong: {error}") from error
