"""Retrieve: the module that asks the retriever of the settings, as DSPy's programs do."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from dspex.app.app import current_app
from dspex.core.errors import ConfigurationError, RetrieverError
from dspex.core.example import Prediction
from dspex.core.messages import Passage
from dspex.program.module import Module
from dspex.runtime.worker_threads import in_thread


class Retrieve(Module):
    """Asks `settings.rm` for `k` passages; the Prediction has their texts as `passages`.

    The rm is a Retriever, or anything that is called as `rm(query, k=k)`, sync or async, and gives Passages, texts,
    objects or dictionaries with `long_text`, or a Prediction with `passages`.
    """

    def __init__(self, k: int = 3, callbacks: Sequence[Any] | None = None) -> None:
        super().__init__(callbacks)
        self.k = k

    async def aforward(self, query: str, k: int | None = None, **options: Any) -> Prediction:
        """The texts of the best passages, best first. Raises ConfigurationError where no rm is set."""
        rm = current_app().settings.rm
        if rm is None:
            raise ConfigurationError("No retriever is set: dspex.configure(rm=dspex.Retriever('NAME')).")
        arguments = {"k": self.k if k is None else k, **options}
        acall = getattr(rm, "acall", None) or (rm if inspect.iscoroutinefunction(rm) else None)
        found = await (in_thread(rm, query, **arguments) if acall is None else acall(query, **arguments))
        found = getattr(found, "passages", found)
        return Prediction(passages=[_text(item) for item in ([found] if _is_one(found) else found)])


def _is_one(found: Any) -> bool:
    return isinstance(found, (str, dict, Passage)) or not isinstance(found, Iterable)


def _text(item: Any) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, Passage):
        return item.text
    text = item.get("long_text") if isinstance(item, dict) else getattr(item, "long_text", None)
    if not isinstance(text, str):
        raise RetrieverError(
            f"The retriever gave {item!r:.80}, which is no passage: a Passage, a text, or `long_text`."
        )
    return text
