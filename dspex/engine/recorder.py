"""Every call of a run: finished ones are answered from the journal, the others leave and are journalled."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from dspex.core.clock import Clock
from dspex.core.errors import BudgetExceeded, CassetteError, DspexError, JournalError
from dspex.core.messages import LMRequest, LMResponse
from dspex.core.usage import NOTHING, Usage
from dspex.runtime.journal import Journal
from dspex.runtime.records import Batched, Call, Sent, Step, Stopped, Training
from dspex.runtime.scope import Proceed, ProceedToBytes, use
from dspex.service.call import Ticket

T = TypeVar("T")
Found = tuple[LMResponse | None, bytes | None, Usage | None]  # a reply, or bytes and what they took


NOTHING_FOUND: Found = (None, None, None)


class Tape:
    """What a run's journal holds, and the way new calls take into it.

    Steps that failed are forgotten when the run ended by an error, as it may have been what made them fail.
    """

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self.journal = journal
        self.clock = clock
        self.paid = self.cached = self.failed = self.reused = 0
        records = journal.records
        calls = [record for record in records if isinstance(record, Call)]
        self.batches = {name: one.batch for one in records if isinstance(one, Batched) for name in one.ids}
        self._open = 0
        self._parked: set[str] = set()  # calls that wait for a batch
        sent = Counter(record.key for record in records if isinstance(record, Sent))
        sent.subtract(call.key for call in calls)
        in_batches = {_call_of(name) for name in self.batches}
        # Those of a fork were sent by another run, those in a batch are asked for again.
        self.lost = sum(max(0, count) for key, count in sent.items() if key not in in_batches)
        self.before = sum((_paid(call) for call in calls), Usage())
        self.trainings: dict[str, str] = {}  # begun and not ended, as far as is known
        for record in records:
            if isinstance(record, Training):
                self._note(record)
                self.before += Usage(usd=record.usd)
        self.done = {call.key: call for call in calls if not call.error}
        self.seconds: dict[str, float] = {}  # of all calls of a step
        for call in self.done.values():
            self._took(call)
        self._found = Counter(call.step for call in calls if not call.error and not _is_free(call))
        last = next((record for record in reversed(records) if isinstance(record, Stopped)), None)
        forgets = last is not None and last.why == "error"
        self.steps = {
            r.key: r for r in records if isinstance(r, Step) and not (forgets and b'"ok":false' in bytes(r.value))
        }

    def trained(self, record: Training) -> None:
        """Journal that a training has begun, or how it ended."""
        self.journal.append(record)
        self._note(record)

    def _note(self, record: Training) -> None:
        if record.state in ("failed", "cancelled"):  # asked for again, another is begun
            self.trainings.pop(record.key, None)
        else:
            self.trainings[record.key] = record.job

    @property
    def is_parked(self) -> bool:
        """Whether all calls under way wait for batches that the provider has: nothing is lost if the process ends."""
        return bool(self._parked) and len(self._parked) >= self._open

    async def batched(self, batch: str, ids: Sequence[str]) -> None:
        """Journal that these calls are in a batch, safe from a power cut: it is paid for."""
        self.journal.append(Batched(batch, tuple(ids)))
        self.batches.update(dict.fromkeys(ids, batch))
        self._parked.update(map(_call_of, ids))
        await asyncio.to_thread(self.journal.sync)

    def begun(self, key: str, call: Any) -> None:
        """A call goes out; one that is answered in a batch is told how to be found again."""
        self._open += 1
        if getattr(getattr(call, "options", None), "dispatch", "live") == "batch":
            call.ticket = Ticket(key, self.batches, self.batched)
            if key in self.batches:
                self._parked.add(key)

    def over(self, key: str) -> None:
        """It is no longer under way."""
        self._open -= 1
        self._parked.discard(key)

    def reuse(self, owner: str) -> None:
        """Count the finished calls that an earlier process made for these steps, once."""
        self.reused += self._found.pop(owner, 0)

    def ended(self, call: Call) -> None:
        """Journal a call that has ended, and count it."""
        self.journal.append(call)
        self.paid += _calls_paid(call)
        self.cached += call.is_cached
        self.failed += bool(call.error)
        if not call.error:
            self.done[call.key] = call
            self._took(call)

    def _took(self, call: Call) -> None:
        self.seconds[call.step] = self.seconds.get(call.step, 0.0) + call.seconds


def _call_of(name: str) -> str:
    """The key of the call that an id in a batch is of, which may be one of its completions."""
    return name.partition("-")[0]


def _is_free(call: Call) -> bool:
    """Whether it is a search or a tool's, which are no calls of a budget's."""
    return call.data is not None and call.usage is not None and not call.usage.calls


def _calls_paid(call: Call) -> int:
    """What left the process for a call, all its attempts."""
    return 0 if call.is_cached or _is_free(call) else call.attempts


def _paid(call: Call) -> Usage:
    """The same with the tokens of its reply."""
    if call.is_cached:
        return Usage()
    usage = call.reply.usage if call.reply is not None else call.usage
    return msgspec.structs.replace(usage or Usage(), calls=_calls_paid(call))


class Lines(Protocol):
    """Where records are written."""

    def append(self, record: Any) -> None:
        """Write one."""


class Keeping(Protocol):
    """What a StepRecorder needs of a Tape: what is known of calls, and where they are told."""

    clock: Clock

    @property
    def done(self) -> Mapping[str, Call]:
        """Calls that need not be made."""

    @property
    def journal(self) -> Lines:
        """Where it is written that a call leaves."""

    def begun(self, key: str, call: Any) -> None:
        """A call goes out."""

    def over(self, key: str) -> None:
        """It is no longer under way."""

    def reuse(self, owner: str) -> None:
        """A step begins."""

    def ended(self, call: Call) -> None:
        """A call has ended."""


class StepRecorder:
    """Stands around the calls of one step; `usage` sums them, `failure` is an error that must end the run."""

    __slots__ = ("_counts", "_owner", "_taken", "_tape", "failure", "usage")

    def __init__(self, tape: Keeping, owner: str) -> None:
        tape.reuse(owner)
        self._tape = tape
        self._owner = owner
        self._counts: dict[bytes, int] = {}
        self._taken: Collection[str] = ()
        self.usage = NOTHING
        self.failure: BaseException | None = None

    def worked_elsewhere(self, usage: Usage, keys: Collection[str]) -> None:
        """A worker has made calls of this step, under these keys; the next one that is like one of them is another one."""
        self.usage += usage
        self._taken = keys

    async def record(self, request: LMRequest, proceed: Proceed) -> LMResponse:
        """Answer from the journal, or `proceed` between a `sent` line and a `call` line."""
        key = self._key(_encoder.encode(request), b"%b/%d/%b")
        known = self._tape.done.get(key)
        if known is None:
            known = await self._sent(key, proceed, partial(proceed, request), _as_reply)
        reply = known.reply
        assert reply is not None
        usage = reply.usage or NOTHING
        usage = usage if usage.calls else msgspec.structs.replace(usage, calls=1)
        self.usage = usage if self.usage is NOTHING else self.usage + usage
        return reply

    async def record_bytes(self, request: bytes, proceed: ProceedToBytes) -> bytes:
        """The same for a call whose reply is bytes; what it asks of others itself is part of it."""
        key = self._key(request, b"%b/%d/data/%b")
        known = self._tape.done.get(key) or await self._sent(key, proceed, partial(_fetched, proceed), _as_data)
        self.usage += known.usage or Usage()
        return known.data or b""

    def _key(self, content: bytes, form: bytes) -> str:
        number = self._counts[content] = self._counts.get(content, 0) + 1
        key = hashlib.blake2b(form % (self._owner.encode(), number, content), digest_size=16).hexdigest()
        return self._key(content, form) if key in self._taken else key

    async def _sent(
        self, key: str, proceed: Any, fetch: Callable[[], Awaitable[T]], found_in: Callable[[T], Found]
    ) -> Call:
        tape, call = self._tape, getattr(proceed, "call", None)
        began = tape.clock.monotonic()
        try:
            tape.journal.append(Sent(key))
            tape.begun(key, call)
            try:
                found = found_in(await fetch())
            except DspexError as error:  # after any other, as after a cancel, the call stays open: it counts as lost
                tape.ended(self._call(key, call, began, NOTHING_FOUND, type(error).__name__))
                raise
            finally:
                tape.over(key)
            made = self._call(key, call, began, found)
            tape.ended(made)
        except (BudgetExceeded, CassetteError, JournalError) as error:
            self.failure = error
            raise
        return made

    def _call(self, key: str, call: Any, began: float, found: Found, failure: str = "") -> Call:
        """What left the process for it is told by the `call`, where it has any."""
        attempts, is_cached = getattr(call, "attempts", 1), bool(getattr(call, "cached", False))
        seconds = round(self._tape.clock.monotonic() - began, 6)
        return Call(key, self._owner, found[0], seconds, attempts, is_cached, failure, found[1], found[2])


class _Within:
    """Stands around what a recorded call asks of others in its turn, which comes again only with it; sums it up."""

    def __init__(self) -> None:
        self.usage = Usage()

    async def record(self, request: LMRequest, proceed: Proceed) -> LMResponse:
        reply = await proceed(request)
        self.usage += msgspec.structs.replace(reply.usage or Usage(), calls=1)
        return reply

    async def record_bytes(self, request: bytes, proceed: ProceedToBytes) -> bytes:
        data, usage = await proceed()
        self.usage += usage
        return data


def _as_reply(reply: LMResponse) -> Found:
    return reply, None, None


async def _fetched(proceed: ProceedToBytes) -> tuple[bytes, Usage]:
    within = _Within()
    with use(recorder=within):
        data, usage = await proceed()
    return data, usage + within.usage


def _as_data(fetched: tuple[bytes, Usage]) -> Found:
    return None, *fetched


def _text(value: Any) -> str:
    return repr(value)


_encoder = msgspec.json.Encoder(order="deterministic", enc_hook=_text)
