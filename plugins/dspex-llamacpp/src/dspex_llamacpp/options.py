"""What a user may set about an embedded model, as keywords of `dspex.LM`."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from dspex.plugin import ConfigurationError

Count = Annotated[int, msgspec.Meta(ge=1, le=256)]


class LlamaCppOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.LM("llamacpp/...")`.

    `path`: a GGUF file, where the model's name is not itself its path; `sha256`: what that file must hash to.
    `context`: tokens a slot, prompt and answer together. `slots`: generations side by side; one is best on two cores.
    `threads`: None is one a core for reading prompts, at most eight, and for writing one, or as many if the model is big.
    `deterministic`: equal requests give equal answers, in any order; no prompt cache, so each prompt is read whole.
    `chat`: whether the model takes turns; None asks the file. `chat_template`: a Jinja template in place of the file's.
    """

    path: str | None = None
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")] | None = None
    context: Annotated[int, msgspec.Meta(ge=256, le=1 << 20)] = 4096
    slots: Count = 1
    threads: Count | None = None
    deterministic: bool = False
    chat: bool | None = None
    chat_template: str | None = None


class EmbeddingOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Embedder("llamacpp/...")`.

    `path`, `sha256` and `threads` as for an LM. `context`: the most tokens that a text may have. `pooling`: how the states of a
    text's tokens become one vector; None is what the file says, else the mean.
    """

    path: str | None = None
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")] | None = None
    context: Annotated[int, msgspec.Meta(ge=64, le=1 << 17)] = 2048
    threads: Count | None = None
    pooling: Literal["mean", "cls", "last"] | None = None


def read_embedding_options(given: Mapping[str, Any]) -> EmbeddingOptions:
    """The options of an embedder's endpoint. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(_plain(given), EmbeddingOptions)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the llamacpp embedder is wrong: {error}") from error


def read_options(given: Mapping[str, Any]) -> LlamaCppOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value, or two that exclude each other."""
    try:
        options = msgspec.convert(_plain(given), LlamaCppOptions)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the llamacpp provider is wrong: {error}") from error
    if options.deterministic and options.slots > 1:
        raise ConfigurationError(
            f"deterministic=True needs slots=1, not slots={options.slots}: answers that are computed side by side "
            "change each other in the last digits. Leave one of the two out."
        )
    if options.chat is False and options.chat_template is not None:
        raise ConfigurationError("chat=False and chat_template= exclude each other: leave one of the two out.")
    return options


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}
