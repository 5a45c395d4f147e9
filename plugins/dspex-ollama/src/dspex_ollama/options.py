"""What a user may set about a model that Ollama serves, as keywords of `dspex.LM` and `dspex.Embedder`."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from dspex.plugin import ConfigurationError

T = TypeVar("T")


class OllamaOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.LM("ollama/...")`.

    `num_ctx`: how many tokens the model reads and writes together. A longer prompt is refused, by servers since 0.12.6; older ones
    cut it and do not say so, as all do with `truncate=True`.
    `keep_alive`: how long the model stays in memory after a call (`"10m"`, -1 for ever). `think`: whether, or how much, it
    thinks first. `options`: more of Ollama's own. `learn`: whether the server is asked once what the model can do.
    """

    num_ctx: int | None = None
    keep_alive: str | int | float | None = None
    think: bool | str | None = None
    options: dict[str, Any] | None = None
    learn: bool = True


class OllamaEmbedderOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Embedder("ollama/...")`; `truncate` False: a text that is too long is refused, not cut."""

    dimensions: int | None = None
    truncate: bool | None = None
    num_ctx: int | None = None
    keep_alive: str | int | float | None = None
    options: dict[str, Any] | None = None


def read_options(given: Mapping[str, Any], kind: type[T]) -> T:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(dict(given), kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the ollama provider is wrong: {error}") from error
