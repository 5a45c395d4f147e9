"""Calls that wait for a batch: put together, sent as one, and answered when the provider is done with it."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any

from dspex.core.batches import BatchResults, BatchSpec, BatchStatus
from dspex.core.errors import BadRequest, DspexError, ProtocolError, Unavailable
from dspex.core.identity import digest
from dspex.core.messages import LMRequest, LMResponse
from dspex.service.aside import Service, asked, watched
from dspex.service.call import Call, Keep, Options, Ticket

LIMIT = 1_000  # requests of a batch, where the provider does not say
QUIET_S, LONGEST_S = 1.0, 30.0  # without another call, and in all, before what has come goes out
FIRST_LOOK_S = 5.0
CANCEL_LIMIT_S = 5.0


class Batch:
    """Requests that go out together, and who waits for them; `id` is the provider's, None before it is sent."""

    def __init__(self, batch_id: str | None = None) -> None:
        self.id = batch_id
        self.requests: dict[str, LMRequest] = {}
        self.waiting: dict[str, asyncio.Future[LMResponse]] = {}
        self.tickets: dict[str, Ticket] = {}
        self.task: asyncio.Task[None] | None = None

    @property
    def is_kept(self) -> bool:
        """Whether a later process can ask for it again."""
        return any(ticket.keep is not forgotten for ticket in self.tickets.values())

    @property
    def key(self) -> str:
        """The same for the same requests of a run that is gone on with, else one of its own."""
        return digest(sorted(self.tickets)) if self.is_kept else os.urandom(16).hex()

    def answer(self, results: BatchResults) -> None:
        """Give each its reply or error."""
        for name, future in self.waiting.items():
            found = results.get(name)
            if future.done():
                continue
            if isinstance(found, LMResponse):
                future.set_result(found)
            else:
                missing = f"The batch {self.id} ended without an answer to this request."
                future.set_exception(found or Unavailable(missing, code="expired"))

    def fail(self, error: BaseException) -> None:
        """Give each this error."""
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(error)


class Batches:
    """The batches of one model on one loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._clock = service.clock
        self._limit: int = getattr(service.provider, "batch_limit", LIMIT)
        self._open: Batch | None = None  # it takes requests
        self._sent: dict[str, Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, call: Call, request: LMRequest) -> LMResponse:
        """The reply, whenever it comes. Raises LMError classes."""
        ticket = call.ticket or Ticket(f"call-{call.number}-{call.salt[1]}", {}, forgotten)
        known = ticket.known.get(ticket.id) if call.attempts == 1 else None
        batch = self._joined(ticket, request) if known is None else self._taken_up(known)
        batch.tickets[ticket.id] = ticket
        future: asyncio.Future[LMResponse] = asyncio.get_running_loop().create_future()
        batch.waiting[ticket.id] = future
        try:
            return await future
        finally:
            del batch.waiting[ticket.id]
            if not batch.waiting and future.cancelled():
                self._leave(batch)

    async def aclose(self) -> None:
        """Look at none any more; what is sent goes on at the provider."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _joined(self, ticket: Ticket, request: LMRequest) -> Batch:
        batch = self._open
        if batch is None:
            batch = self._open = Batch()
            self._begin(batch)
        batch.requests[ticket.id] = request
        if len(batch.requests) >= self._limit:
            self._open = None
        return batch

    def _taken_up(self, batch_id: str) -> Batch:
        batch = self._sent.get(batch_id)
        if batch is None:
            batch = self._sent[batch_id] = Batch(batch_id)
            self._begin(batch)
        return batch

    def _begin(self, batch: Batch) -> None:
        # In a context of its own: it belongs to no one call, and to no call's budget or deadline.
        task = batch.task = asyncio.get_running_loop().create_task(self._run(batch), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _leave(self, batch: Batch) -> None:
        """Nobody waits any more: a batch that nobody can ask for again is ended too."""
        if self._open is batch:
            self._open = None
        if batch.task is not None:
            batch.task.cancel()
        if batch.id is not None and not batch.is_kept:
            task = asyncio.get_running_loop().create_task(self._ended(batch.id), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: Batch) -> None:
        try:
            if batch.id is None:
                await self._gathered(batch)
                batch.id = await self._started(batch)
                self._sent[batch.id] = batch
                for keep, ids in _by_keeper(batch):
                    await keep(batch.id, ids)
            batch.answer(await self._watched(batch.id))
        except DspexError as error:
            batch.fail(error)
        except Exception as error:  # noqa: BLE001  of the plugin's making, and nobody else would tell those who wait
            said = f"The batch {batch.id} could not be answered: {type(error).__name__}: {error}"
            batch.fail(ProtocolError(said, model=self._service.name, retryable=False))  # it is paid: not sent again
        finally:
            self._sent.pop(batch.id or "", None)

    async def _gathered(self, batch: Batch) -> None:
        until, count = self._clock.monotonic() + LONGEST_S, 0
        while self._open is batch and count < len(batch.requests) and self._clock.monotonic() < until:
            count = len(batch.requests)
            await self._clock.sleep(QUIET_S)
        if self._open is batch:
            self._open = None

    async def _started(self, batch: Batch) -> str:
        service, provider = self._service, self._provider
        wanted = {name: request for name, request in batch.requests.items() if name in batch.waiting}
        spec = BatchSpec(wanted, batch.key)
        made = await asked(service, lambda: provider.batch_start(spec), Options())
        if not isinstance(made, str) or not made:
            said = f"batch_start gave {made!r:.80}, not the id of a batch."
            raise ProtocolError(said, model=service.name, retryable=False)
        return made

    async def _watched(self, batch_id: str) -> BatchResults:
        look = partial(self._looked_at, batch_id)
        status = await watched(self._clock, FIRST_LOOK_S, look, lambda status: status.state != "running")
        return await self._results(batch_id, status)

    async def _looked_at(self, batch_id: str) -> BatchStatus:
        service, provider = self._service, self._provider
        status = await asked(service, lambda: provider.batch_status(batch_id), Options())
        if not isinstance(status, BatchStatus):
            said = f"batch_status gave {status!r:.120}, not a BatchStatus."
            raise ProtocolError(said, model=service.name, retryable=False)
        return status

    async def _results(self, batch_id: str, status: BatchStatus) -> BatchResults:
        service, provider = self._service, self._provider
        if status.state == "failed":
            raise BadRequest(f"The batch {batch_id} failed: {status.error}", model=service.name)
        if status.state == "cancelled":
            raise Unavailable(f"The batch {batch_id} was cancelled.", model=service.name, retryable=False)
        found: BatchResults = await asked(service, lambda: provider.batch_results(batch_id), Options())
        return found

    async def _ended(self, batch_id: str) -> None:
        provider = self._provider
        with suppress(DspexError):
            await asked(self._service, lambda: provider.batch_cancel(batch_id), Options(timeout=CANCEL_LIMIT_S))

    @property
    def _provider(self) -> Any:
        return self._service.provider


async def forgotten(_batch: str, _ids: Sequence[str]) -> None:
    """Keeps nothing: nobody will ask for that batch again."""


def _by_keeper(batch: Batch) -> list[tuple[Keep, list[str]]]:
    found: dict[Keep, list[str]] = {}
    for name in batch.requests:
        if name in batch.tickets:
            found.setdefault(batch.tickets[name].keep, []).append(name)
    return list(found.items())
