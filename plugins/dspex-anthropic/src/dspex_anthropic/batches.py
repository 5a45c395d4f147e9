"""Messages by the batch API: within a day, and for half the price."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from dspex.plugin import (
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
)
from dspex_anthropic.replies import WireReply, error_of, to_response


class WireBatch(msgspec.Struct):
    """A batch as the API tells of it."""

    id: str
    processing_status: str = ""
    results_url: str | None = None


class WireResult(msgspec.Struct):
    """How one request ended: succeeded, errored, canceled or expired."""

    type: str = ""
    message: msgspec.Raw = msgspec.Raw(b"{}")
    error: Any = None


class WireLine(msgspec.Struct):
    """A line of the results."""

    custom_id: str
    result: WireResult


class MessageBatches:
    """The batches of one endpoint; its methods are those of a BatchingProvider."""

    def __init__(
        self,
        endpoint: Endpoint,
        http: HttpClient,
        url: str,
        headers: Headers,
        body_of: Callable[[LMRequest], dict[str, Any]],
    ) -> None:
        self._endpoint = endpoint
        self._http = http
        self._url = f"{url}/batches"
        self._headers = headers
        self._body_of = body_of
        self._lines = msgspec.json.Decoder(WireLine)
        self._replies = msgspec.json.Decoder(WireReply)

    async def start(self, spec: BatchSpec) -> str:
        """The id of a batch of these requests.

        The API has no name of ours for it: where the answer is lost it may have been taken, and it is not sent again.
        """
        rows = [{"custom_id": name, "params": self._body_of(request)} for name, request in spec.requests.items()]
        try:
            json = {"requests": rows}
            reply = await self._http.request("POST", self._url, json=json, headers=self._headers, is_final=True)
        except LMError as error:
            if error.status is None:
                error.retryable = False
            raise
        return decode_json(reply.body, WireBatch).id

    async def status(self, batch: str) -> BatchStatus:
        """How far it is."""
        found = await self._found(batch)
        return BatchStatus("ended" if found.processing_status == "ended" else "running")

    async def results(self, batch: str) -> BatchResults:
        """A reply or an error by the request's id; those that were not in time, or were cancelled, are missing."""
        found = await self._found(batch)
        url = found.results_url or f"{self._url}/{batch}/results"
        reply = await self._http.request("GET", url, headers=self._headers)
        return dict(self._read(reply.body))

    async def cancel(self, batch: str) -> None:
        """End it; for one that has ended it is no error."""
        if (await self.status(batch)).state == "running":
            await self._http.request("POST", f"{self._url}/{batch}/cancel", headers=self._headers)

    async def _found(self, batch: str) -> WireBatch:
        reply = await self._http.request("GET", f"{self._url}/{batch}", headers=self._headers)
        return decode_json(reply.body, WireBatch)

    def _read(self, body: bytes) -> Iterator[tuple[str, LMResponse | LMError]]:
        for text in filter(None, body.splitlines()):
            line = decode_json(text, self._lines)
            found = self._result(line.result)
            if found is not None:
                yield line.custom_id, found

    def _result(self, result: WireResult) -> LMResponse | LMError | None:
        if result.type == "errored":
            given = result.error.get("error", result.error) if isinstance(result.error, dict) else result.error
            return error_of(given, self._endpoint)
        if result.type != "succeeded":
            return None
        try:
            return to_response(decode_json(bytes(result.message), self._replies), self._endpoint)
        except LMError as error:
            return error
