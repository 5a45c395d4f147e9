"""DSPy's path of the small helpers that retrievers and multi-hop programs import."""

from collections.abc import Hashable, Iterable
from typing import Any, TypeVar

__all__ = ["deduplicate", "dotdict"]

T = TypeVar("T", bound=Hashable)


class dotdict(dict[str, Any]):  # noqa: N801  DSPy's name
    """A dictionary whose keys are attributes too, as `long_text` of a passage."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"There is no key {name!r}; there are: {', '.join(map(str, self))}.") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"There is no key {name!r}.") from None


def deduplicate(items: Iterable[T]) -> list[T]:
    """The items without repeats, each at its first place."""
    return list(dict.fromkeys(items))
