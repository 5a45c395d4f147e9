"""The contract of adapters, and the signature as they see it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from dspex.core.messages import Message


class FieldView(Protocol):
    """A field of a signature, as an adapter sees it."""

    @property
    def name(self) -> str:
        """Its name, an identifier."""

    @property
    def prefix(self) -> str:
        """Its name for people, ending in a colon: `Sorted name:`."""

    @property
    def desc(self) -> str:
        """What the user says about it, or an empty string."""

    @property
    def annotation(self) -> Any:
        """Its Python type."""

    @property
    def type_text(self) -> str:
        """The type as text, `list[str]`."""

    @property
    def constraints(self) -> str:
        """Constraints in words, or an empty string."""

    @property
    def required(self) -> bool:
        """Whether a reply, or a call, must have it."""

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed texts of a Literal, enum or bool; empty for any other type."""

    def render(self, value: Any) -> str:
        """A value as it stands in a prompt."""

    def decode(self, text: str) -> Any:
        """A value from a model's text. Raises ValueError that says what is wrong."""

    def convert(self, value: Any) -> Any:
        """A value from JSON data. Raises ValueError that says what is wrong."""


class SignatureView(Protocol):
    """A compiled signature, as an adapter sees it. Equal signatures have one `key`, good for prepared templates."""

    @property
    def key(self) -> str:
        """Digest of text, types and instructions."""

    @property
    def instructions(self) -> str:
        """What the model is asked to do."""

    @property
    def inputs(self) -> tuple[FieldView, ...]:
        """Input fields in order."""

    @property
    def outputs(self) -> tuple[FieldView, ...]:
        """Output fields in order."""

    @property
    def output_schema(self) -> Mapping[str, Any]:
        """JSON schema of the outputs as one object."""

    @property
    def templates(self) -> dict[Any, Any]:
        """Where an adapter keeps what it has prepared for this signature, under a key of its own."""


FieldPieces = Sequence[tuple[str, str]]


class ReplyParser(Protocol):
    """Reads fields out of one reply while it comes; made anew for each reply, and used by one task.

    Both methods give pairs (output's name, further piece of its text), as far as that is certain whatever comes next; an
    empty piece says that a field begins, and ends the one before. Pieces of a text field, joined, are its value; of
    another they can be decoded to it. What turns out otherwise is sent anew, and so is what is never given: a parser may
    stop giving pieces wherever it is in doubt.
    """

    def feed(self, text: str) -> FieldPieces:
        """The reply goes on with that text, which is cut anywhere."""

    def end(self) -> FieldPieces:
        """The reply is over."""


class Adapter(Protocol):
    """Turns a signature, demos and inputs into messages, and a completion into values.

    Optional: `params(signature, capabilities) -> dict` gives LM params that the form needs, such as stop strings;
    `schema(signature, capabilities) -> (Mapping | None, str)` gives the JSON schema that the provider shall hold the
    reply to, or None, and why; `reask(signature, completion, error) -> tuple[Message, ...]` gives the turns of a further
    call after a reply that does not parse; `async aparse(signature, completion) -> dict` is awaited in place of `parse`,
    for an adapter that has to ask a model; `is_complete(signature, completion) -> bool` says whether a reply that
    max_tokens cut came to its end all the same; `parser(signature) -> ReplyParser` reads fields while the reply comes
    (absent: they are sent whole, at its end).
    With `use_native_function_calling` True (or None, where the model is known to have them) tools go as the provider's
    functions, `parallel_tool_calls` with them, and `native_response_types` names types that are filled beside the text;
    such an adapter begins with a system message, ends with a user's, and is also given signatures without outputs.
    """

    name: str
    version: int

    def format(
        self, signature: Any, demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The messages in DSPy's form: dictionaries of role and content."""

    def render(
        self, signature: Any, demos: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
    ) -> tuple[Message, ...]:
        """The messages that Predict sends."""

    def parse(self, signature: Any, text: str) -> dict[str, Any]:
        """Typed values by output field. Raises AdapterParseError."""
