"""What a user may set about a model at Bedrock, as keywords of `dspex.LM` and `dspex.Embedder`."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from dspex.plugin import ConfigurationError

T = TypeVar("T")


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


class BedrockEmbedderOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Embedder("bedrock/...")`.

    `region`, `profile`: as for an LM. `dimensions`: how many values a vector has, where the model lets one choose. `input_type`:
    what the texts are for, of Cohere's models (queries and documents have other vectors). `truncate`: which end of a text
    that is too long is cut, by the model's own word; else it is refused.
    """

    region: str | None = None
    profile: str | None = None
    dimensions: int | None = None
    input_type: Literal["search_document", "search_query", "classification", "clustering"] = "search_document"
    truncate: str | None = None


def read_options(given: Mapping[str, Any], kind: type[T]) -> T:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(dict(given), kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the bedrock provider is wrong: {error}") from error
