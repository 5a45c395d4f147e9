"""Reasoning: text that a model thinks by."""

from typing import Any, ClassVar, Self

from dspex.program.types.base import Type


class Reasoning(str, Type):
    """A str; `.content` is the same as a plain one."""

    __slots__ = ()
    goes_natively: ClassVar[bool] = True

    def __new__(cls, content: str = "") -> Self:
        if not isinstance(content, str):
            raise ValueError(f"Reasoning is text, not {type(content).__name__}.")  # noqa: TRY004  as DSPy's
        return str.__new__(cls, content)

    def __init__(self, content: str = "") -> None:
        pass

    @property
    def content(self) -> str:
        """The text."""
        return str(self)

    def __add__(self, other: str) -> str:
        text = str.__add__(self, other)
        return Reasoning(text) if isinstance(other, Reasoning) else text

    def format(self, *values: Any, **named: Any) -> str:
        """The text; with values, as `str.format`."""
        return str.format(self, *values, **named) if values or named else str(self)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The whole text."""
        return cls(text)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """A string's."""
        return {"type": "string"}

    def toDict(self) -> str:  # noqa: N802
        """The text."""
        return str(self)
