"""Chat completions by xAI's batch API: a file goes up as at OpenAI, but a batch is told of by counts, and gives its replies in pages."""

from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from dspex.plugin import BadRequest, BatchResults, BatchSpec, BatchStatus, LMError, LMResponse
from dspex_openai.batch_wire import BATCH_FORMS, WireError, json_line
from dspex_openai.batches import BatchWire, FileBatches

PAGE = 1_000  # replies of a page


class WireState(msgspec.Struct):
    """How many requests of a batch there are, how many have no answer yet, and how many a good one."""

    num_requests: int = 0
    num_pending: int = 0
    num_success: int = 0


class WireXaiBatch(msgspec.Struct):
    """A batch; `name` is ours."""

    batch_id: str = ""
    name: str = ""
    cancel_time: str | None = None
    cancel_by_xai_message: str | None = None
    state: WireState = msgspec.field(default_factory=WireState)


class WireXaiBatches(msgspec.Struct):
    """The newest batches of an account."""

    batches: list[WireXaiBatch] | None = None


class WireAnswer(msgspec.Struct):
    """What came of one request: a reply by the name of its API, or an error."""

    response: dict[str, msgspec.Raw] | None = None
    error: WireError | str | None = None
    error_message: str | None = None


class WireResult(msgspec.Struct):
    """An answer, and to which request."""

    batch_request_id: str
    batch_result: WireAnswer = msgspec.field(default_factory=WireAnswer)
    error_message: str | None = None

    def refusal(self) -> str:
        """Why there is no reply; it is told in several places."""
        error = self.batch_result.error
        told = error.told() if isinstance(error, WireError) else error
        return told or self.batch_result.error_message or self.error_message or WireError().told()


class WirePage(msgspec.Struct):
    """Some of a batch's answers, and what asks for more."""

    results: list[WireResult] | None = None
    pagination_token: str | None = None


class XaiBatches:
    """The batches of one endpoint at xAI; its methods are those of a BatchingProvider."""

    def __init__(self, wire: BatchWire) -> None:
        self._wire = wire

    async def start(self, spec: BatchSpec) -> str:
        """The id of a batch of these requests. The newest are looked through first for one that was taken before."""
        wire, form, name = self._wire, BATCH_FORMS["openai"], f"dspex-{spec.key}"
        listed = await wire.get("batches", WireXaiBatches)
        for batch in listed.batches or ():
            if batch.name == name:
                return batch.batch_id
        lines = (form.line(one, wire.to_body(request)) for one, request in spec.requests.items())
        file_name = f"{name}.jsonl"
        file = await wire.uploaded("files", form.fields(file_name), file_name, b"".join(map(json_line, lines)))
        order = {"name": name, "input_file_id": file}
        made: WireXaiBatch = await wire.post("batches", WireXaiBatch, order, is_final=True)
        return made.batch_id

    async def status(self, batch: str) -> BatchStatus:
        """How far it is; one that xAI itself has ended says why."""
        found = await self._wire.get(_path(batch), WireXaiBatch)
        if found.cancel_by_xai_message:
            return BatchStatus("failed", found.cancel_by_xai_message)
        state = found.state
        if found.cancel_time is not None:
            return BatchStatus("ended" if state.num_success else "cancelled")
        # Until its file is read it has no requests.
        return BatchStatus("ended" if state.num_requests and not state.num_pending else "running")

    async def results(self, batch: str) -> BatchResults:
        """A reply or an error by the request's id."""
        results: dict[str, LMResponse | LMError] = {}
        token: str | None = None
        while True:
            asked = {"limit": PAGE, **({} if token is None else {"pagination_token": token})}
            page = await self._wire.get(f"{_path(batch)}/results?{urlencode(asked)}", WirePage)
            results.update((one.batch_request_id, self._result(one)) for one in page.results or ())
            token = page.pagination_token
            if not token or not page.results:
                return results

    async def cancel(self, batch: str) -> None:
        """End it; for one that has ended it is no error."""
        try:
            await self._wire.post(f"{_path(batch)}:cancel", Any)
        except BadRequest:
            if (await self.status(batch)).state == "running":
                raise

    def _result(self, result: WireResult) -> LMResponse | LMError:
        body = next(iter((result.batch_result.response or {}).values()), None)
        if body is None:
            return BadRequest(result.refusal())
        return self._wire.response(bytes(body))


def _path(batch: str) -> str:
    return f"batches/{quote(batch, safe='')}"


def make_batches(service: str, wire: BatchWire) -> FileBatches | XaiBatches:
    """The batches of a service, by the name of whose API it has."""
    return XaiBatches(wire) if service == "xai" else FileBatches(wire, BATCH_FORMS[service])
