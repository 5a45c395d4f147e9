"""What a user may set about an endpoint of the Gemini API, as keywords of `dspex.LM` and `dspex.Embedder`."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from dspex.plugin import ConfigurationError

T = TypeVar("T")

TaskType = Literal[
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "RETRIEVAL_DOCUMENT",
    "RETRIEVAL_QUERY",
    "CODE_RETRIEVAL_QUERY",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
]


class GeminiOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.LM("gemini/...")`.

    `thinking`: the API's thinkingConfig, for all calls of this handle. `safety`: thresholds by harm category, as
    `{"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"}`. `structured`: how a JSON schema is sent, as it is (`json_schema`) or in
    the older form of OpenAPI; auto takes what the model is known to read.
    """

    thinking: dict[str, Any] | None = None
    safety: dict[str, str] | None = None
    structured: Literal["auto", "json_schema", "openapi"] = "auto"


class VertexOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.LM("vertex_ai/...")`: those of GeminiOptions, and where the model is.

    `project`, `location`: as Google Cloud knows them. `token`: "package.module:function", what gives a token of Google's; else its own
    search for credentials does.
    """

    project: str | None = None
    location: str | None = None
    token: str | None = None
    thinking: dict[str, Any] | None = None
    safety: dict[str, str] | None = None
    structured: Literal["auto", "json_schema", "openapi"] = "auto"


class VertexEmbedderOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Embedder("vertex_ai/...")`: those of GeminiEmbedderOptions, and `project`, `location` and `token` of VertexOptions."""

    project: str | None = None
    location: str | None = None
    token: str | None = None
    dimensions: int | None = None
    task_type: TaskType | None = None


class GeminiEmbedderOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Embedder("gemini/...")`: how many values a vector has, and what it is for."""

    dimensions: int | None = None
    task_type: TaskType | None = None


def read_options(given: Mapping[str, Any], kind: type[T]) -> T:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(dict(given), kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the gemini provider is wrong: {error}") from error
