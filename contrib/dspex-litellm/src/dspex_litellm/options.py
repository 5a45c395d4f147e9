"""What a user may set about an endpoint that LiteLLM calls, as keywords of `dspex.LM` and `dspex.Embedder`."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from dspex.plugin import ConfigurationError

T = TypeVar("T")


class LiteLLMOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.LM("litellm/...")`.

    `api_version`, `custom_llm_provider`: as LiteLLM knows them. `drop_params`: whether parameters that a model does not take
    are left out; else they are refused.
    """

    api_version: str | None = None
    custom_llm_provider: str | None = None
    drop_params: bool = False


class LiteLLMEmbedderOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Embedder("litellm/...")`, as LiteLLM knows them."""

    api_version: str | None = None
    custom_llm_provider: str | None = None
    dimensions: int | None = None
    input_type: str | None = None


def read_options(given: Mapping[str, Any], kind: type[T]) -> T:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(dict(given), kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the litellm provider is wrong: {error}") from error


def said(options: msgspec.Struct) -> dict[str, Any]:
    """What of the options was set, as keywords of LiteLLM."""
    return {name: value for name, value in msgspec.structs.asdict(options).items() if value not in (None, False)}
