"""BaseLM: a model whose calls the user writes, behind the same service as any other."""

from abc import ABCMeta
from collections.abc import Sequence
from typing import Any, Literal

from dspex.app.lm import LM
from dspex.app.written_lm import is_written
from dspex.core.errors import ConfigurationError


class BaseLM(LM, metaclass=ABCMeta):
    """Base of own LMs: write `forward(prompt=None, messages=None, **kwargs)`, or `aforward`, or both.

    It gives a text, a list of texts, an LMResponse, or a reply in OpenAI's form as object or dictionary. `messages` are
    dictionaries, `kwargs` the parameters of handle and call, and `tools` and `response_format` where they are asked
    for; `prompt` is always None. The sync form runs in a thread. A `__call__` or `acall` may stand in their place. Replies are cached only where `cache_key` is set, in
    the class or as a keyword: it says what tells this object's replies from those of another with the same model.
    """

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        model: str,
        model_type: Literal["chat", "text", "responses"] = "chat",
        temperature: float | None = None,
        max_tokens: int | None = None,
        cache: bool = True,
        callbacks: Sequence[Any] | None = None,
        num_retries: int = 3,
        *,
        cache_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        if not is_written(type(self)):
            raise ConfigurationError(
                f"{type(self).__name__} has neither `forward` nor `aforward`; write one of them, or a whole `__call__`."
            )
        self.cache_key = cache_key or self.cache_key
        super().__init__(model, model_type, temperature, max_tokens, cache, callbacks, num_retries, **kwargs)

    @classmethod
    def __subclasshook__(cls, kind: type) -> Any:
        # In DSPy LM is below it: whoever asks for a BaseLM means any LM.
        return issubclass(kind, LM) if cls is BaseLM else NotImplemented
