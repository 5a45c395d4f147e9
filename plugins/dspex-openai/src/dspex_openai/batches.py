"""Chat completions by a batch API: a file of requests goes up, files of replies come down, within a day and for half the price."""

from collections.abc import Callable, Iterator
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
    LMRequest,
    LMResponse,
    decode_json,
    status_error,
)
from dspex_openai.batch_wire import (
    KEY,
    BatchForm,
    WireBatch,
    WireBatches,
    WireError,
    WireFile,
    WireFiles,
    WireLine,
    WireMade,
    form_of,
    json_line,
)
from dspex_openai.replies import WireReply, to_response

T = TypeVar("T")
ToBody = Callable[[LMRequest], dict[str, Any]]


class BatchWire:
    """An endpoint at which batches are made: what goes to it, and how a reply within a batch is read."""

    def __init__(self, endpoint: Endpoint, http: HttpClient, base_url: str, headers: Headers, to_body: ToBody) -> None:
        self.endpoint = endpoint
        self.to_body = to_body
        self._http = http
        self._base_url = base_url
        self._headers = headers
        self._replies = msgspec.json.Decoder(WireReply)

    async def get(self, path: str, kind: type[T]) -> T:
        """What is at a path."""
        return decode_json(await self.fetched(path), kind)

    async def fetched(self, path: str) -> bytes:
        """The bytes at a path."""
        reply = await self._http.request("GET", f"{self._base_url}/{path}", headers=self._headers)
        return reply.body

    async def post(self, path: str, kind: Any, json: Any = None, *, is_final: bool = False) -> Any:
        """What an order gives; a final one must not be taken twice."""
        url = f"{self._base_url}/{path}"
        reply = await self._http.request("POST", url, json=json, headers=self._headers, is_final=is_final)
        return decode_json(reply.body, kind)

    async def uploaded(self, path: str, fields: dict[str, str], file_name: str, file: bytes) -> str:
        """The id of a file."""
        body, content_type = form_of(fields, file_name, file)
        headers = Headers({**self._headers, "content-type": content_type})
        reply = await self._http.request("POST", f"{self._base_url}/{path}", body=body, headers=headers)
        return decode_json(reply.body, WireFile).id

    def response(self, body: bytes, status: int = 200) -> LMResponse | LMError:
        """The reply to one request, or its error."""
        if not 200 <= status < 300:
            return status_error(self.endpoint, status, {}, body, base_url=self._base_url)
        try:
            reply = decode_json(body, self._replies)
            return to_response(reply, max(1, len(reply.choices or ())), self.endpoint)
        except LMError as error:
            return error


class FileBatches:
    """The batches of one endpoint, of requests in a file; its methods are those of a BatchingProvider."""

    def __init__(self, wire: BatchWire, form: BatchForm) -> None:
        self._wire = wire
        self._form = form
        self._lines = msgspec.json.Decoder(WireLine)

    async def start(self, spec: BatchSpec) -> str:
        """The id of a batch of these requests. The newest are looked through first for one that was taken before."""
        wire, form = self._wire, self._form
        known = await self._known(spec.key)
        if known is not None:
            return known
        lines = (form.line(name, wire.to_body(request)) for name, request in spec.requests.items())
        name = _file_name(spec.key)
        file = await wire.uploaded(form.files, form.fields(name), name, b"".join(map(json_line, lines)))
        order = form.order(file, spec.key, wire.endpoint.model)
        made: WireMade = await wire.post(form.batches, WireMade, order, is_final=True)
        return (made.job or made).id

    async def status(self, batch: str) -> BatchStatus:
        """How far it is."""
        return (await self._found(batch)).to_status()

    async def results(self, batch: str) -> BatchResults:
        """A reply or an error by the request's id; those that were not in time are missing."""
        results: dict[str, LMResponse | LMError] = {}
        for name in (await self._found(batch)).replies:
            results.update(self._read(await self._wire.fetched(f"files/{name}/content")))
        return results

    async def cancel(self, batch: str) -> None:
        """End it; for one that has ended it is no error."""
        try:
            await self._wire.post(f"{self._form.batches}/{batch}/cancel", Any)
        except BadRequest:
            if (await self.status(batch)).state == "running":
                raise

    async def _found(self, batch: str) -> WireBatch:
        return await self._wire.get(f"{self._form.batches}/{batch}", WireBatch)

    async def _known(self, key: str) -> str | None:
        listed = decode_json(await self._wire.fetched(self._form.batches), WireBatches | list[WireBatch])
        batches = listed if isinstance(listed, list) else listed.data or []
        if self._form.kind == "together":
            return await self._by_file(batches, key)
        return next((batch.id for batch in batches if (batch.metadata or {}).get(KEY) == key), None)

    async def _by_file(self, batches: list[WireBatch], key: str) -> str | None:
        if not batches:
            return None
        files = (await self._wire.get("files", WireFiles)).data or []
        ours = {file.id for file in files if file.filename == _file_name(key)}
        return next((batch.id for batch in batches if batch.input_file_id in ours), None)

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
            return None if is_late else BadRequest((line.error or WireError()).told())
        return self._wire.response(bytes(reply.body), reply.status_code)


def _file_name(key: str) -> str:
    return f"dspex-{key}.jsonl"
