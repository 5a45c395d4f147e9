"""What a user may set about a model at Bedrock, as keywords of `dspex.LM`."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from dspex.plugin import ConfigurationError


class BedrockOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.LM("bedrock/...")`.

    `region`, `profile`: as AWS knows them. `guardrail`: the API's guardrailConfig. `structured`: how a reply is held to a
    JSON schema, by the API's own output `format` or by a `tool` that the model has to call; auto takes the first where the
    model is known to have it. There is no option for credentials: handles are saved with programs, and what they hold.
    """

    region: str | None = None
    profile: str | None = None
    guardrail: dict[str, Any] | None = None
    structured: Literal["auto", "format", "tool"] = "auto"


def read_options(given: Mapping[str, Any]) -> BedrockOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(dict(given), BedrockOptions)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the bedrock provider is wrong: {error}") from error
