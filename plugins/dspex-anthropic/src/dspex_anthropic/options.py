"""What a user may set about an endpoint that speaks the messages API, as keywords of `dspex.LM`."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from dspex.plugin import ConfigurationError


class AnthropicOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.LM("anthropic/...")`.

    `thinking`: as the API takes it, for all calls of this handle. `cache_prefix`: how long Anthropic keeps what prompts
    have in common; None marks nothing. `structured`: how a reply is held to a JSON schema, by the API's own output
    `format` or by a `tool` that the model has to call; auto takes the first where model and schema allow. `beta`: names
    for the header `anthropic-beta`, with commas.
    """

    thinking: dict[str, Any] | None = None
    cache_prefix: Literal["5m", "1h"] | None = None
    structured: Literal["auto", "format", "tool"] = "auto"
    beta: str | None = None


def read_options(given: Mapping[str, Any]) -> AnthropicOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(dict(given), AnthropicOptions)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the anthropic provider is wrong: {error}") from error
