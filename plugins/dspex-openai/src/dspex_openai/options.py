"""What a user may set about an OpenAI-like endpoint, as keywords of `dspex.LM`."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from dspex.plugin import ConfigurationError

T = TypeVar("T")
ModelType = Literal["chat", "responses", "text"]


class OpenAIOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.LM("openai/...")`.

    `server`: what runs behind `api_base`; llamacpp and vllm take `grammar=`, each in its own form. `stream_usage`: whether
    a stream is asked for its token counts; False for a server that refuses the question. `organization`, `project`: whom
    OpenAI bills. `model_type`: which of OpenAI's APIs is called: chat completions, responses, or the completions of old,
    which continue a text.
    """

    server: Literal["openai", "llamacpp", "vllm"] = "openai"
    stream_usage: bool = True
    organization: str | None = None
    project: str | None = None
    model_type: ModelType = "chat"


class AzureOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.LM("azure/...")`.

    `api_version`: a date, as `2024-10-21`, for the addresses of deployments; None, or `preview`, for those that need none.
    `token`: what is shown in place of a key: "entra", a token of Microsoft Entra's for the application that the environment names; or
    "package.module:function", what that gives. The others are those of OpenAIOptions.
    """

    api_version: str | None = None
    token: str | None = None
    stream_usage: bool = True
    model_type: ModelType = "chat"


class EmbedderOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Embedder("openai/...")`.

    `dimensions`: how many values a vector has, where the model lets one choose. `encoding`: how they travel; base64 takes
    a third of the time, and auto is base64 where it is known to be understood.
    """

    dimensions: int | None = None
    encoding: Literal["auto", "base64", "float"] = "auto"


class AzureEmbedderOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Embedder("azure/...")`: those of EmbedderOptions, and `api_version` and `token` of AzureOptions."""

    api_version: str | None = None
    token: str | None = None
    dimensions: int | None = None
    encoding: Literal["auto", "base64", "float"] = "auto"


def read_options(given: Mapping[str, Any]) -> OpenAIOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    return read_as(given, OpenAIOptions)


def read_as(given: Mapping[str, Any], kind: type[T]) -> T:
    """Options of a kind. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(dict(given), kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the openai provider is wrong: {error}") from error
