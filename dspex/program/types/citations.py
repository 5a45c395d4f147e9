"""Document and Citations: sources for an answer, and what the answer takes from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import msgspec

from dspex.core.errors import InputError
from dspex.program.types.base import Type
from dspex.program.values import from_plain


class Document(Type):
    """A source by its text; goes to the model as an object, and is cited by its place among the documents or its title."""

    data: str
    title: str | None = None
    context: str | None = None

    def format(self) -> dict[str, Any]:
        """The fields that it has."""
        return {name: value for name, value in vars(self).items() if value is not None}


class Citation(msgspec.Struct, frozen=True):
    """A text from a document; the place in it counts characters, where it is known."""

    cited_text: str
    document_index: int = 0
    document_title: str | None = None
    start_char_index: int | None = None
    end_char_index: int | None = None
    supported_text: str | None = None


class Citations(Type):
    """What an answer cites, in order: a sequence of `Citation`. Raises InputError for what is none."""

    citations: list[Citation]

    def __init__(self, citations: Sequence[Citation | Mapping[str, Any]]) -> None:
        try:
            found = msgspec.convert(list(citations), list[Citation], dec_hook=from_plain)
        except (msgspec.ValidationError, TypeError) as error:
            raise InputError(f"These are no citations: {error}") from error
        vars(self).update(citations=found)

    @classmethod
    def from_dict_list(cls, citations: Sequence[Mapping[str, Any]]) -> Self:
        """Citations out of dictionaries."""
        return cls(citations)

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

    def __iter__(self) -> Iterator[Citation]:
        return iter(self.citations)

    def __getitem__(self, index: int) -> Citation:
        return self.citations[index]
