"""DSPy's path of two small helps for programs that retrieve: a list without repeats, and a record as `rm` may give it."""

from collections.abc import Iterable
from typing import Any, TypeVar

__all__ = ["deduplicate", "dotdict"]

T = TypeVar("T")


def deduplicate(seq: Iterable[T]) -> list[T]:
    """The items in order, each where it came first."""
    return list(dict.fromkeys(seq))


class dotdict(dict[str, Any]):  # noqa: N801  DSPy's name
    """A dictionary whose keys are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"There is no key {name!r}.", name=name, obj=self) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"There is no key {name!r}.", name=name, obj=self) from None
