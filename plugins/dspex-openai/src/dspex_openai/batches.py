"""Chat completions by the batch API: a file of requests goes up, files of replies come down, within a day and for half the price."""

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from dspex.plugin import (
    BadRequest,
    BatchResults,
    BatchSpec,
    BatchStatus,
    Endpoint,
    Headers,
    HttpClient,
    LMError,
    LMResponse,
    decode_json,
    status_error,
)
from dspex_openai.options import OpenAIOptions
from dspex_openai.replies import WireReply, to_response
from dspex_openai.wire import to_body

T = TypeVar("T")

KEY = "dspex_key"  # of a batch's metadata
ENDED = ("completed", "expired")  # what expired has replies too, for those that were in time
BOUNDARY = "dspex-batch-file"


class WireError(msgspec.Struct):
    """What is wrong with a batch, or with one request of it."""

    message: str | None = None
    code: str | None = None
    line: int | None = None


class WireErrors(msgspec.Struct):
    """The faults of a batch that was refused."""

    data: list[WireError] | None = None


class WireBatch(msgspec.Struct):
    """A batch as the API tells of it."""

    id: str
    status: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: WireErrors | None = None
    metadata: dict[str, Any] | None = None


class WireBatches(msgspec.Struct):
    """The newest batches of an account."""

    data: list[WireBatch] = []


class WireFile(msgspec.Struct):
    """A file that has gone up."""

    id: str


class WireHttp(msgspec.Struct):
    """The reply to one request."""

    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"{}")


class WireLine(msgspec.Struct):
    """A line of a file of replies."""

    custom_id: str
    response: WireHttp | None = None
    error: WireError | None = None


class ChatBatches:
    """The batches of one endpoint; its methods are those of a BatchingProvider."""

    def __init__(
        self, endpoint: Endpoint, http: HttpClient, base_url: str, headers: Headers, options: OpenAIOptions
    ) -> None:
        self._endpoint = endpoint
        self._http = http
        self._base_url = base_url
        self._headers = headers
        self._options = options
        self._lines = msgspec.json.Decoder(WireLine)
        self._replies = msgspec.json.Decoder(WireReply)

    async def start(self, spec: BatchSpec) -> str:
        """The id of a batch of these requests. The newest are looked through first for one that was taken before."""
        listed = await self._get("batches", WireBatches)
        for batch in listed.data:
            if (batch.metadata or {}).get(KEY) == spec.key:
                return batch.id
        url, order = f"{self._base_url}/batches", self._order(await self._uploaded(spec), spec.key)
        reply = await self._http.request("POST", url, json=order, headers=self._headers, is_final=True)
        return decode_json(reply.body, WireBatch).id

    async def status(self, batch: str) -> BatchStatus:
        """How far it is."""
        found = await self._get(f"batches/{batch}", WireBatch)
        if found.status in ENDED or (found.status == "cancelled" and found.output_file_id):
            return BatchStatus("ended")
        if found.status == "failed":
            return BatchStatus("failed", _told(found))
        return BatchStatus("cancelled" if found.status == "cancelled" else "running")

    async def results(self, batch: str) -> BatchResults:
        """A reply or an error by the request's id; those that were not in time are missing."""
        found = await self._get(f"batches/{batch}", WireBatch)
        results: dict[str, LMResponse | LMError] = {}
        for name in filter(None, (found.output_file_id, found.error_file_id)):
            reply = await self._http.request("GET", f"{self._base_url}/files/{name}/content", headers=self._headers)
            results.update(self._read(reply.body))
        return results

    async def cancel(self, batch: str) -> None:
        """End it; for one that has ended it is no error."""
        try:
            await self._http.request("POST", f"{self._base_url}/batches/{batch}/cancel", headers=self._headers)
        except BadRequest:
            if (await self.status(batch)).state == "running":
                raise

    async def _uploaded(self, spec: BatchSpec) -> str:
        rows = (
            {
                "custom_id": name,
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": to_body(request, self._options),
            }
            for name, request in spec.requests.items()
        )
        body, content_type = _form({"purpose": "batch"}, b"".join(map(_line, rows)))
        headers = Headers({**self._headers, "content-type": content_type})
        reply = await self._http.request("POST", f"{self._base_url}/files", body=body, headers=headers)
        return decode_json(reply.body, WireFile).id

    @staticmethod
    def _order(file: str, key: str) -> dict[str, Any]:
        endpoint, window = "/v1/chat/completions", "24h"
        return {"input_file_id": file, "endpoint": endpoint, "completion_window": window, "metadata": {KEY: key}}

    def _read(self, body: bytes) -> Iterator[tuple[str, LMResponse | LMError]]:
        for text in filter(None, body.splitlines()):
            line = decode_json(text, self._lines)
            found = self._result(line)
            if found is not None:
                yield line.custom_id, found

    def _result(self, line: WireLine) -> LMResponse | LMError | None:
        reply = line.response
        if reply is None:
            is_late = line.error is None or line.error.code == "batch_expired"
            return None if is_late else BadRequest(_said(line.error))
        if not 200 <= reply.status_code < 300:
            return status_error(self._endpoint, reply.status_code, {}, bytes(reply.body), base_url=self._base_url)
        try:
            body = decode_json(bytes(reply.body), self._replies)
            return to_response(body, max(1, len(body.choices or ())), self._endpoint)
        except LMError as error:
            return error

    async def _get(self, path: str, kind: type[T]) -> T:
        reply = await self._http.request("GET", f"{self._base_url}/{path}", headers=self._headers)
        return decode_json(reply.body, kind)


def _line(row: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(row) + b"\n"
    except (TypeError, ValueError) as error:
        raise BadRequest(f"The request cannot be written as JSON: {error}") from error


def _form(fields: dict[str, str], file: bytes) -> tuple[bytes, str]:
    """A multipart form with a file, and its content type. JSON lines hold no line that begins with the boundary."""
    head = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    named = 'Content-Disposition: form-data; name="file"; filename="batch.jsonl"\r\nContent-Type: application/jsonl'
    whole = f"{head}--{BOUNDARY}\r\n{named}\r\n\r\n".encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()
    return whole, f"multipart/form-data; boundary={BOUNDARY}"


def _told(batch: WireBatch) -> str:
    faults = (batch.errors.data if batch.errors else None) or []
    return "; ".join(map(_said, faults[:3])) or "the provider does not say why"


def _said(error: WireError | None) -> str:
    if error is None:
        return "it was refused"
    where = "" if error.line is None else f" (line {error.line})"
    return f"{error.message or error.code or 'it was refused'}{where}"
