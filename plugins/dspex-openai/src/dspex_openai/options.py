"""What a user may set about an OpenAI-like endpoint, as keywords of `dspex.LM`."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from dspex.plugin import ConfigurationError


class OpenAIOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.LM("openai/...")`.

    `server`: what runs behind `api_base`; llamacpp and vllm take `grammar=`, each in its own form. `stream_usage`: whether
    a stream is asked for its token counts; False for a server that refuses the question. `organization`, `project`: whom
    OpenAI bills.
    """

    server: Literal["openai", "llamacpp", "vllm"] = "openai"
    stream_usage: bool = True
    organization: str | None = None
    project: str | None = None


def read_options(given: Mapping[str, Any]) -> OpenAIOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(dict(given), OpenAIOptions)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the openai provider is wrong: {error}") from error
