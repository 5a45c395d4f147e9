"""DSPy's path of the base of one's own LMs, and of the calls of all LMs."""

from collections.abc import Sequence
from typing import Any, overload

from dspex.app.app import current_app
from dspex.app.base_lm import BaseLM
from dspex.app.history import inspect_history

__all__ = ["GLOBAL_HISTORY", "LM_CLASS_STATE_KEY", "BaseLM", "inspect_history"]

# Under which DSPy's files name the class of an LM; it is read over here, as a file names no class to be made.
LM_CLASS_STATE_KEY = "_dspy_lm_class"


class GlobalHistory(Sequence[dict[str, Any]]):
    """The last calls of all LMs of the current App, as an LM's own `history` has them."""

    __slots__ = ()

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, place: int | slice) -> Any:
        entries = list(current_app().history)[place]
        return [one.to_dict() for one in entries] if isinstance(entries, list) else entries.to_dict()

    def __len__(self) -> int:
        return len(current_app().history)

    def clear(self) -> None:
        """Forget them; an LM's own are not touched."""
        current_app().history.clear()


GLOBAL_HISTORY = GlobalHistory()
