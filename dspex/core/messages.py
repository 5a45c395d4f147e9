"""What goes to a model and what comes back, neutral to every provider."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from dspex.core.errors import ProtocolError
from dspex.core.usage import Usage
from dspex.core.where import Condition


class Text(msgspec.Struct, frozen=True, gc=False, tag="text"):
    """Plain text."""

    text: str


class Image(msgspec.Struct, frozen=True, gc=False, tag="image"):
    """A picture by URL or data URL; `detail` is how closely to look (low, high, auto), where a provider takes it."""

    url: str
    detail: str | None = None


class Audio(msgspec.Struct, frozen=True, gc=False, tag="audio"):
    """Sound, base64-encoded."""

    data: str
    format: str


class File(msgspec.Struct, frozen=True, gc=False, tag="file"):
    """A document, as a data URL or by the provider's own id."""

    data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class ToolCall(msgspec.Struct, frozen=True, gc=False, tag="tool_call"):
    """A tool that the model asks for; `arguments` is JSON text as it came."""

    id: str
    name: str
    arguments: str


class ToolResult(msgspec.Struct, frozen=True, gc=False, tag="tool_result"):
    """What a tool gave back for the call of that id."""

    id: str
    text: str
    is_error: bool = False


class Thought(msgspec.Struct, frozen=True, gc=False, tag="thought"):
    """What a model thought before its calls, signed or sealed: `data` as its maker wrote it, for nobody else to read or change.

    `maker` is provider and model, as "anthropic/claude-sonnet-4-5"; it goes back to the same only, and is left out for any other.
    """

    data: str
    maker: str


Part = Text | Image | Audio | File | Thought | ToolCall | ToolResult


class Message(msgspec.Struct, frozen=True, gc=False):
    """One turn; `role` is system, user, assistant or tool."""

    role: str
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: str, text: str) -> "Message":
        """A turn of text only."""
        return cls(role, (Text(text),))

    @property
    def text(self) -> str:
        """The text parts, joined."""
        parts = self.parts
        if len(parts) == 1 and type(parts[0]) is Text:
            return parts[0].text
        return "".join(part.text for part in parts if isinstance(part, Text))


class LMRequest(msgspec.Struct, frozen=True, gc=False):
    """One logical request; `params` are under OpenAI's names, `schema` is a JSON schema for the reply."""

    model: str
    messages: tuple[Message, ...]
    params: Mapping[str, Any] = {}
    tools: tuple[Mapping[str, Any], ...] = ()
    schema: Mapping[str, Any] | None = None
    n: int = 1


class Choice(msgspec.Struct, frozen=True, gc=False):
    """One completion; `finish_reason` is stop, length, tool_calls, content_filter or the provider's own word.

    `logprobs`, where asked for, has OpenAI's chat form: {"content": [a row for each token of the text]}, a row being
    {"token", "logprob" (natural), "bytes" (a list, or None), "top_logprobs": [such rows of what else was weighed]}.
    `thoughts` are what the provider wants back with `tool_calls`; `reasoning` is what of it can be read.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = "stop"
    logprobs: Any = None
    reasoning: str | None = None
    thoughts: tuple[Thought, ...] = ()


class LMResponse(msgspec.Struct, frozen=True, gc=False):
    """A whole reply; `usage` is what it cost, None where the provider did not say, or where it cost nothing."""

    choices: tuple[Choice, ...]
    usage: Usage | None = None
    model: str = ""
    id: str = ""

    @classmethod
    def from_text(cls, text: str, usage: Usage | None = None) -> "LMResponse":
        """A reply of one completed text."""
        return cls((Choice(text),), usage)

    @property
    def text(self) -> str:
        """Text of the first choice."""
        return self.choices[0].text


class ToolCallPiece(msgspec.Struct, frozen=True, gc=False):
    """What has come of a call while the model writes it: `index` is the call's in its reply, the rest is added to what came."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class LMDelta(msgspec.Struct, frozen=True, gc=False):
    """A piece of a streamed reply; the last one carries `finish_reason` and, where known, `usage`.

    `tool_calls` are whole calls, and those of all pieces are the reply's. `tool_call_pieces` say before what they will be:
    a provider that has them gives each as it comes, and nobody has to read them. `thoughts` come with `tool_calls`.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    reasoning: str | None = None
    tool_call_pieces: tuple[ToolCallPiece, ...] = ()
    thoughts: tuple[Thought, ...] = ()

    @classmethod
    def last_of(cls, reply: LMResponse, text: str | None = None) -> "LMDelta":
        """The last piece of a reply; with all of its text, if no other is given."""
        choice = reply.choices[0]
        said = choice.text if text is None else text
        return cls(
            said,
            choice.tool_calls,
            choice.finish_reason or "stop",
            reply.usage,
            choice.reasoning,
            thoughts=choice.thoughts,
        )


class Vectors(msgspec.Struct, frozen=True):
    """Embeddings: `data` is float32, row-major, behind the buffer protocol; `dim` values a row.

    `len(vectors)` rows, each a memoryview of floats: `vectors[0]`, `for row in vectors`.
    """

    data: Any
    dim: int
    usage: Usage | None = None

    @classmethod
    def of(cls, rows: Iterable[Iterable[float]], usage: Usage | None = None) -> "Vectors":
        """Made of a row of numbers each. Raises ProtocolError for rows of different length."""
        floats = [array("f", row) for row in rows]
        lengths = sorted({len(row) for row in floats})
        if len(lengths) > 1:
            raise ProtocolError(f"The vectors have different lengths: {', '.join(map(str, lengths))}.", retryable=False)
        return cls(b"".join(floats), lengths[0] if lengths else 0, usage)

    def __len__(self) -> int:
        return memoryview(self.data).nbytes // (4 * self.dim) if self.dim else 0

    def __iter__(self) -> Iterator["memoryview[float]"]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> "memoryview[float]":
        if not 0 <= row < len(self):
            raise IndexError(f"There is no row {row}: there are {len(self)}.")
        return memoryview(self.data).cast("B").cast("f")[row * self.dim : (row + 1) * self.dim]


class Passage(msgspec.Struct, frozen=True):
    """A retrieved text with its score, higher is nearer."""

    text: str
    score: float = 0.0
    id: str = ""
    metadata: Mapping[str, Any] = {}


class RetrieverRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One search: the `k` best passages for a query, among those for which all of `where` holds, from the retriever of that name."""

    retriever: str
    query: str
    k: int
    where: tuple[Condition, ...] = ()
