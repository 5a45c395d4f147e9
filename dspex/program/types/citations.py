"""Document and Citations: sources for an answer, and what the answer takes from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec

from dspex.core.errors import InputError
from dspex.program.types.base import Type
from dspex.program.values import from_plain, render


class Document(Type):
    """A source by its text, or a PDF in base64; it is cited by its place among the documents or its title.

    A text goes to the model as an object, a PDF as a file with the title and the context before it.
    """

    data: str
    title: str | None = None
    media_type: Literal["text/plain", "application/pdf"] = "text/plain"
    context: str | None = None

    def format(self) -> dict[str, Any] | list[dict[str, Any]]:
        """The fields that it has, or parts."""
        told = {name: value for name in ("data", "title", "context") if (value := getattr(self, name)) is not None}
        if self.media_type == "text/plain":
            return told
        pdf = f"data:{self.media_type};base64,{told.pop('data')}"
        words = [{"type": "text", "text": f"{render(told)}\n"}] if told else []
        return [
            *words,
            {"type": "file", "file": {"file_data": pdf, **({"filename": self.title} if self.title else {})}},
        ]


class Citation(msgspec.Struct, frozen=True):
    """A text from a document; the place in it counts characters, where it is known."""

    cited_text: str
    document_index: int = 0
    document_title: str | None = None
    start_char_index: int | None = None
    end_char_index: int | None = None
    supported_text: str | None = None


_Citation = Citation  # inside Citations the name is that of its attribute


class Citations(Type):
    """What an answer cites, in order: a sequence of `Citation`. Raises InputError for what is none."""

    Citation: ClassVar[type[_Citation]] = Citation

    citations: list[_Citation]

    def __init__(self, citations: Sequence[_Citation | Mapping[str, Any]]) -> None:
        try:
            found = msgspec.convert(list(citations), list[_Citation], dec_hook=from_plain)
        except (msgspec.ValidationError, TypeError) as error:
            raise InputError(f"These are no citations: {error}") from error
        vars(self).update(citations=found)

    @classmethod
    def from_dict_list(cls, citations_dicts: Sequence[Mapping[str, Any]]) -> Self:
        """Citations out of dictionaries."""
        return cls(citations_dicts)

    @classmethod
    def from_plain(cls, data: Any) -> Self:
        """Citations out of a list, or an object with the key `citations`."""
        return cls(data) if isinstance(data, list) else super().from_plain(data)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """An object's, without places: models do not count characters."""
        texts = {"cited_text": {"type": "string"}, "document_title": {"type": "string"}}
        properties = {**texts, "document_index": {"type": "integer"}, "supported_text": {"type": "string"}}
        one = {"type": "object", "properties": properties, "required": ["cited_text"]}
        return {
            "type": "object",
            "properties": {"citations": {"type": "array", "items": one}},
            "required": ["citations"],
        }

    def format(self) -> dict[str, Any]:
        """The citations, without what is unknown of them."""
        rows = (msgspec.structs.asdict(citation) for citation in self.citations)
        return {"citations": [{name: value for name, value in row.items() if value is not None} for row in rows]}

    def __len__(self) -> int:
        return len(self.citations)

    def __iter__(self) -> Iterator[_Citation]:
        return iter(self.citations)

    def __getitem__(self, index: int) -> _Citation:
        return self.citations[index]
