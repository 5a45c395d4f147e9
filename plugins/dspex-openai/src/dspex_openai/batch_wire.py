"""What goes up and comes down in a batch, by service; plain functions, nothing is called."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from dspex.plugin import BadRequest, BatchStatus

KEY = "dspex_key"  # of a batch's metadata
BOUNDARY = "dspex-batch-file"
CHAT = "/v1/chat/completions"

# What each service calls them; what expired or ran out of time has replies too, for those that were in time.
_ENDED = frozenset({"completed", "success", "expired", "timeout_exceeded"})


class BatchForm(msgspec.Struct, frozen=True):
    """How a service that takes a file of requests wants it: where the file and the order go, and as what.

    `kind` tells whose order it is: OpenAI's, Together's (which keeps no metadata: a batch is known by the name of its file)
    or Mistral's (which has one model a batch). `api` is the address that each request of the file is for.
    """

    kind: Literal["openai", "together", "mistral"] = "openai"
    files: str = "files"
    purpose: str = "batch"
    batches: str = "batches"
    api: str = CHAT

    def line(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """A request's line of the file."""
        if self.kind == "mistral":
            return {"custom_id": name, "body": {word: value for word, value in body.items() if word != "model"}}
        return {"custom_id": name, "method": "POST", "url": self.api, "body": body}

    def fields(self, file_name: str) -> dict[str, str]:
        """What the form says that brings the file."""
        named = {"file_name": file_name} if self.kind == "together" else {}
        return {"purpose": self.purpose, **named}

    def order(self, file: str, key: str, model: str) -> dict[str, Any]:
        """What makes a batch of a file."""
        if self.kind == "mistral":
            ours = {"endpoint": self.api, "timeout_hours": 24, "metadata": {KEY: key}}
            return {"input_files": [file], "model": model, **ours}
        ordered = {"input_file_id": file, "endpoint": self.api, "completion_window": "24h"}
        return ordered if self.kind == "together" else {**ordered, "metadata": {KEY: key}}


BATCH_FORMS: Mapping[str, BatchForm] = MappingProxyType(
    {
        "openai": BatchForm(),
        "azure": BatchForm(api="/chat/completions"),
        "together": BatchForm("together", "files/upload", "batch-api"),
        "mistral": BatchForm("mistral", batches="batch/jobs"),
    }
)


class WireError(msgspec.Struct):
    """What is wrong with a batch, or with one request of it."""

    message: str | None = None
    code: str | int | None = None
    line: int | None = None

    def told(self) -> str:
        """In words."""
        where = "" if self.line is None else f" (line {self.line})"
        return f"{self.message or self.code or 'it was refused'}{where}"


class WireErrors(msgspec.Struct):
    """The faults of a batch that was refused."""

    data: list[WireError] | None = None


class WireBatch(msgspec.Struct):
    """A batch as a service tells of it; each has names of its own for the files of replies."""

    id: str = ""
    status: str = ""
    input_file_id: str | None = None
    output_file_id: str | None = None
    output_file: str | None = None
    error_file_id: str | None = None
    error_file: str | None = None
    errors: WireErrors | list[WireError] | None = None
    error: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def replies(self) -> tuple[str, ...]:
        """The files to fetch."""
        named = (self.output_file_id, self.output_file, self.error_file_id, self.error_file)
        return tuple(filter(None, named))

    def to_status(self) -> BatchStatus:
        """How far it is."""
        said = self.status.lower()
        if said in _ENDED or (said == "cancelled" and (self.output_file_id or self.output_file)):
            return BatchStatus("ended")
        if said == "failed":
            return BatchStatus("failed", self._fault())
        return BatchStatus("cancelled" if said == "cancelled" else "running")

    def _fault(self) -> str:
        given = self.errors.data if isinstance(self.errors, WireErrors) else self.errors
        said = [error.told() for error in (given or [])[:3]]
        return "; ".join(filter(None, [*said, self.error])) or "the provider does not say why"


class WireMade(WireBatch):
    """The answer to an order: a batch, or what has one in it (Together's)."""

    job: WireBatch | None = None


class WireBatches(msgspec.Struct):
    """The newest batches of an account."""

    data: list[WireBatch] | None = None


class WireFile(msgspec.Struct):
    """A file that has gone up."""

    id: str
    filename: str | None = None


class WireFiles(msgspec.Struct):
    """The files of an account."""

    data: list[WireFile] | None = None


class WireHttp(msgspec.Struct):
    """The reply to one request."""

    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"{}")


class WireLine(msgspec.Struct):
    """A line of a file of replies."""

    custom_id: str
    response: WireHttp | None = None
    error: WireError | None = None


def json_line(row: Any) -> bytes:
    """A line of a file. Raises BadRequest for what cannot be written."""
    try:
        return msgspec.json.encode(row) + b"\n"
    except (TypeError, ValueError) as error:
        raise BadRequest(f"The request cannot be written as JSON: {error}") from error


def form_of(fields: Mapping[str, str], file_name: str, file: bytes) -> tuple[bytes, str]:
    """A multipart form with a file, and its content type. JSON lines hold no line that begins with the boundary."""
    head = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    named = f'Content-Disposition: form-data; name="file"; filename="{file_name}"\r\nContent-Type: application/jsonl'
    whole = f"{head}--{BOUNDARY}\r\n{named}\r\n\r\n".encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()
    return whole, f"multipart/form-data; boundary={BOUNDARY}"
