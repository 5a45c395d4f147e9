"""Logical calls to a provider that is no LM: single-flight > deadline > attempts."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar

from dspex.service.attempts import Attempts
from dspex.service.call import Call
from dspex.service.flight import SingleFlight
from dspex.service.ledger import Charge
from dspex.service.life import Life

Reply = TypeVar("Reply")


class Ask(Generic[Reply]):
    """What one logical call wants: `send` makes an attempt, `bound` is the most it may take, `spent` what it took.

    Equal `key`s in flight are one call, None joins nobody; `keep` is given the reply of the one that was sent.
    """

    __slots__ = ("bound", "keep", "key", "send", "spent")

    def __init__(
        self,
        send: Callable[[], Awaitable[Reply]],
        *,
        bound: Callable[[bool], Charge],
        spent: Callable[[Reply], Charge],
        key: bytes | None,
        keep: Callable[[Reply], Awaitable[None]],
    ) -> None:
        self.send = send
        self.bound = bound
        self.spent = spent
        self.key = key
        self.keep = keep


class Calls(Generic[Reply]):
    """The calls to one provider, for all loops and threads of an App."""

    def __init__(self, name: str, provider: Any, attempts: Attempts) -> None:
        self.attempts = attempts
        self._life = Life(provider, name)
        self._flights: SingleFlight[Reply] = SingleFlight()

    async def make(self, call: Call, ask: Ask[Reply]) -> Reply:
        """The reply. Raises what its attempts raise: LMError classes, PluginError, BudgetExceeded."""
        lead = partial(self._sent, call, ask)
        key = ask.key
        if key is None:
            return await lead()

        async def join() -> Reply:
            reply, call.cached = await self._flights.join(key, lead)
            return reply

        return await (self.attempts.in_time(call, join) if call.starts_at_once else join())

    async def _sent(self, call: Call, ask: Ask[Reply]) -> Reply:
        attempt = partial(self._attempt, call, ask)
        is_timed = call.timer is not None
        reply = await (
            self.attempts.run(call, attempt) if is_timed else self.attempts.in_time(call, attempt, again=True)
        )
        await ask.keep(reply)
        return reply

    async def _attempt(self, call: Call, ask: Ask[Reply]) -> Reply:
        await self._life.start()
        return await self.attempts.once(call, ask.bound, ask.send, ask.spent)

    async def ready(self) -> None:
        """Start the provider, once."""
        await self._life.start()

    def forked(self) -> None:
        """In a forked child: what the parent's calls hold is not ours."""
        self._flights = SingleFlight()
        self._life.forked()
        self.attempts.forked()

    async def aclose(self) -> None:
        """Let the provider go."""
        await self._life.aclose()
