"""Code: a program's text, in a language."""

import re
from functools import cache
from typing import Any, ClassVar, Self

from dspex.program.types.base import Type

_FENCED = re.compile(r"^[ \t]*(`{3,})[^`\n]*\n(?:(.*?)\n)??[ \t]*\1`*[ \t]*$", re.DOTALL | re.MULTILINE)
_ONE_BLOCK = re.compile(r"\s*(`{3,})[^`\n]*\n([^`]*)\1\s*")  # may close behind the last word; no other tick is in it
_RUN = re.compile(r"`{3,}")


class Code(Type):
    """Code in `language`, which `Code["sql"]` changes; a fence around the text is taken off. Raises ValueError for no text."""

    language: ClassVar[str] = "python"
    code: str

    def __init__(self, code: str) -> None:
        if not isinstance(code, str):
            raise ValueError(f"Code is text, not {type(code).__name__}.")  # noqa: TRY004  as DSPy's
        text = code.strip()
        fenced = _FENCED.match(text)
        if fenced is None or fenced.end() != len(text):
            fenced = _ONE_BLOCK.fullmatch(text)
        vars(self).update(code=code if fenced is None else fenced[2] or "")

    def __class_getitem__(cls, language: str) -> Any:
        kind: Any = cls
        return _in_language(kind, language)

    def format(self) -> str:
        """The code in a fence that is longer than any in it."""
        fence = "`" * max([3, *(len(run) + 1 for run in _RUN.findall(self.code))])
        return f"{fence}{self.language}\n{self.code}\n{fence}"

    @classmethod
    def description(cls) -> str:
        """How it is wanted."""
        return f"{cls.language} in a fenced block"

    @classmethod
    def parse(cls, text: str) -> Self:
        """What the fenced block has, else the whole text. Raises ValueError for blocks that differ."""
        blocks = {block[0] for block in _FENCED.finditer(text)}
        if len(blocks) > 1:
            raise ValueError(f"expected one block of code, got {len(blocks)}")
        return cls(blocks.pop() if blocks else text)

    @classmethod
    def from_plain(cls, data: Any) -> Self:
        """Code out of a text, or an object with the key `code`."""
        return cls(data) if isinstance(data, str) else super().from_plain(data)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """A string's."""
        return {"type": "string"}

    def __str__(self) -> str:
        return self.code


@cache
def _in_language(kind: Any, language: str) -> type[Code]:
    if not isinstance(language, str):
        raise TypeError(f"Code[...] takes the name of a language, not {language!r}.")
    names = {"language": language, "__module__": kind.__module__, "__doc__": f"Code in {language}."}
    return type(f"{kind.__name__}[{language!r}]", (kind,), names)
