"""API keys, and headers that may hold one, that cannot be printed, encoded or pickled by accident."""

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from dspex.core.errors import ConfigurationError

SHORTEST_HIDDEN = 4  # characters: to hide "x", as servers without keys are given one, would only spoil what is said


class Secret:
    """A value that shows as `***`; only `reveal()` gives it out.

    Surrounding white space is stripped, as keys read from files end with a newline.
    Raises ConfigurationError when the value is empty or has white space or control characters inside.
    """

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str = "argument") -> None:
        text = value.strip()
        if not text or not text.isprintable() or " " in text:
            raise ConfigurationError(f"The key from {source} is empty or has white space or control characters in it.")
        self._value = text
        self.source = source

    def reveal(self) -> str:
        """The value itself, for a request header and nothing else."""
        return self._value

    def redact(self, text: str) -> str:
        """`text` with each occurrence of the value replaced by `***`, unless it is shorter than any key."""
        return text.replace(self._value, "***") if len(self._value) >= SHORTEST_HIDDEN else text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, _spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Secret cannot be pickled or copied to disk.")

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, _memo: object) -> "Secret":
        return self


class Headers(Mapping[str, str]):
    """HTTP headers that show their names only, as any value may be a key."""

    __slots__ = ("_values", "lowered")

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        self.lowered: Mapping[str, str] = self._values  # names in small letters, to send
        if any(name != name.lower() for name in self._values):
            self.lowered = {name.lower(): value for name, value in self._values.items()}

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({', '.join(f'{name}=***' for name in self._values)})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._values:
            raise TypeError("Headers may hold a key, so they cannot be pickled or copied to disk.")
        return Headers, ({},)

    def __deepcopy__(self, _memo: object) -> "Headers":
        return self
