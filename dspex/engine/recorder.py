"""Every LM call of a run: finished ones are answered from the journal, the others leave and are journalled."""

import hashlib
from collections import Counter
from typing import Any

import msgspec

from dspex.core.clock import Clock
from dspex.core.errors import BudgetExceeded, DspexError, JournalError
from dspex.core.messages import LMRequest, LMResponse
from dspex.core.usage import Usage
from dspex.runtime.journal import Journal
from dspex.runtime.records import Call, Sent, Step, Stopped
from dspex.runtime.scope import Proceed


class Tape:
    """What a run's journal holds, and the way new LM calls take into it.

    Steps that failed are forgotten when the run ended by an error, as it may have been what made them fail.
    """

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self.journal = journal
        self.clock = clock
        self.fresh, self.cached, self.failed, self.reused = Usage(), 0, 0, 0
        records = journal.records
        calls = [record for record in records if isinstance(record, Call)]
        self.lost = sum(isinstance(record, Sent) for record in records) - len(calls)
        self.before = sum((_paid(call) for call in calls), Usage())
        self.replies = {call.key: call.reply for call in calls if call.reply is not None}
        self._found = Counter(call.step for call in calls if call.reply is not None)
        last = next((record for record in reversed(records) if isinstance(record, Stopped)), None)
        forgets = last is not None and last.why == "error"
        self.steps = {
            r.key: r for r in records if isinstance(r, Step) and not (forgets and b'"ok":false' in bytes(r.value))
        }

    def reuse(self, owner: str) -> None:
        """Count the finished calls that an earlier process made for these steps, once."""
        self.reused += self._found.pop(owner, 0)

    def ended(self, call: Call) -> None:
        """Journal a call that has ended, and count it."""
        self.journal.append(call)
        self.fresh += _paid(call)
        self.cached += call.is_cached
        self.failed += bool(call.error)
        if call.reply is not None:
            self.replies[call.key] = call.reply


def _paid(call: Call) -> Usage:
    """What left the process for a call: all its attempts, and the tokens of its reply."""
    if call.is_cached:
        return Usage()
    usage = call.reply.usage if call.reply is not None else None
    return msgspec.structs.replace(usage or Usage(), calls=call.attempts)


class StepRecorder:
    """Stands around the LM calls of one step; `usage` sums them, `failure` is an error that must end the run."""

    __slots__ = ("_counts", "_owner", "_tape", "failure", "usage")

    def __init__(self, tape: Tape, owner: str) -> None:
        tape.reuse(owner)
        self._tape = tape
        self._owner = owner
        self._counts: dict[bytes, int] = {}
        self.usage = Usage()
        self.failure: BaseException | None = None

    async def record(self, request: LMRequest, proceed: Proceed) -> LMResponse:
        """Answer from the journal, or `proceed` between a `sent` line and a `call` line."""
        content = _encoder.encode(request)
        number = self._counts[content] = self._counts.get(content, 0) + 1
        key = hashlib.blake2b(b"%b/%d/%b" % (self._owner.encode(), number, content), digest_size=16).hexdigest()
        reply = self._tape.replies.get(key)
        if reply is None:
            reply = await self._sent(key, request, proceed)
        usage = reply.usage or Usage()
        self.usage += usage if usage.calls else msgspec.structs.replace(usage, calls=1)
        return reply

    async def _sent(self, key: str, request: LMRequest, proceed: Proceed) -> LMResponse:
        tape, clock = self._tape, self._tape.clock
        try:
            tape.journal.append(Sent(key))
            began, reply, failure = clock.monotonic(), None, ""
            try:
                reply = await proceed(request)
            except DspexError as error:
                failure = type(error).__name__
                raise
            finally:
                if reply is not None or failure:  # a call that was cancelled stays open: it counts as lost
                    call = getattr(proceed, "call", None)
                    attempts, is_cached = getattr(call, "attempts", 1), bool(getattr(call, "cached", False))
                    seconds = round(clock.monotonic() - began, 6)
                    tape.ended(Call(key, self._owner, reply, seconds, attempts, is_cached, failure))
        except (BudgetExceeded, JournalError) as error:
            self.failure = error
            raise
        return reply


def _text(value: Any) -> str:
    return repr(value)


_encoder = msgspec.json.Encoder(order="deterministic", enc_hook=_text)
