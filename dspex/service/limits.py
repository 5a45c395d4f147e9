"""How many attempts an endpoint gets: in flight, a minute, and as it says itself; over all loops and threads."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Mapping
from numbers import Real

import msgspec

from dspex.core.clock import Clock
from dspex.core.errors import ConfigurationError, RateLimited
from dspex.runtime.standing import LoopCounts
from dspex.service.adaptive import Adaptive
from dspex.service.call import DEFAULT_TIMEOUT_S
from dspex.service.rate import LONGEST_S, TOLD, Minute, Taken, Told, told

QUEUE_LIMIT = 10_000
LEARNING = 0.1  # how fast the share of their bounds that attempts really take is learnt
INFINITE = float("inf")
ASK_TO_WAIT = (429, 503, 529)


class Pace(msgspec.Struct, frozen=True):
    """What the user allows; None: no limit. `adaptive` finds the number in flight that the endpoint bears.

    Raises ConfigurationError for a limit below one.
    """

    max_in_flight: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    adaptive: bool = False

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "requests_per_minute", "tokens_per_minute"):
            limit = getattr(self, name)
            if limit is not None and not (isinstance(limit, Real) and float(limit) >= 1):
                raise ConfigurationError(f"{name}={limit!r}: one is the least, or None for no limit.")


class Permit:
    """The right to one attempt, until it is released."""

    __slots__ = ("began", "bound", "loop", "request", "tokens")

    def __init__(self, loop: asyncio.AbstractEventLoop, bound: float) -> None:
        self.loop = loop
        self.bound = bound
        self.began = 0.0
        self.request: Taken | None = None
        self.tokens: Taken | None = None


class Waiter:
    """Somebody in the queue; `group` is the request (a task tree) that it belongs to."""

    __slots__ = ("future", "group", "permit")

    def __init__(self, permit: Permit, group: object) -> None:
        self.permit = permit
        self.group = group
        self.future: asyncio.Future[None] = permit.loop.create_future()


class Turns:
    """A queue in which requests take turns; within one of them the first come is the first served."""

    def __init__(self) -> None:
        self.size = 0
        self._groups: OrderedDict[object, OrderedDict[Waiter, None]] = OrderedDict()

    @property
    def first(self) -> Waiter:
        """Whose turn it is."""
        return next(iter(next(iter(self._groups.values()))))

    def add(self, waiter: Waiter, *, again: bool) -> None:
        """Stand in line; who had his turn before, and must try again, is the first of his request."""
        own = self._groups.setdefault(waiter.group, OrderedDict())
        own[waiter] = None
        own.move_to_end(waiter, last=not again)
        self.size += 1

    def take_first(self) -> None:
        """The first goes, and its request to the end."""
        group = self.first.group
        self._groups[group].popitem(last=False)
        self._groups.move_to_end(group)
        self._left(group)

    def discard(self, waiter: Waiter) -> bool:
        """Leave the line; whether it stood there."""
        if waiter not in self._groups.get(waiter.group, ()):
            return False
        del self._groups[waiter.group][waiter]
        self._left(waiter.group)
        return True

    def _left(self, group: object) -> None:
        self.size -= 1
        if not self._groups[group]:
            del self._groups[group]


class Limiter:
    """The permits of one endpoint; beyond `queue_limit` waiting attempts it refuses with RateLimited.

    `is_unlimited` says that nothing is limited, so that nobody need ask. A call that a loop stands still for waits for no
    permit of that loop's own calls, as they would never end before it.
    """

    def __init__(self, pace: Pace, clock: Clock, queue_limit: float = QUEUE_LIMIT) -> None:
        self.pace = pace
        self.queue_limit = queue_limit
        self.is_unlimited = pace == Pace()
        self._clock = clock
        self._adaptive = Adaptive(pace.max_in_flight) if pace.adaptive else None
        self._most = pace.max_in_flight or INFINITE
        self._requests = Minute(pace.requests_per_minute) if pace.requests_per_minute else None
        self._tokens = Minute(pace.tokens_per_minute) if pace.tokens_per_minute else None
        self._told_requests, self._told_tokens = Told(), Told()
        self._has_rates = pace.requests_per_minute is not None or pace.tokens_per_minute is not None
        self._is_timed = self._has_rates or pace.adaptive
        self._share = 1.0
        self._paused_until = self._asked_until = 0.0
        self.forked()

    def forked(self) -> None:
        """In a forked child: what the parent's calls hold and wait for is not ours."""
        self.used = 0
        self._queue = Turns()
        self._loops = LoopCounts()
        self._timer: tuple[float, asyncio.AbstractEventLoop] | None = None
        self._lock = threading.Lock()

    @property
    def limit(self) -> float:
        """How many may be in flight now; infinite without a limit."""
        return self._most if self._adaptive is None else self._adaptive.limit

    @property
    def counts_tokens(self) -> bool:
        """Whether a permit depends on the tokens of its request."""
        return self._tokens is not None or self._told_tokens.is_known

    async def acquire(
        self, group: object = None, bound: float = 0.0, deadline: float | None = None, *, again: bool = False
    ) -> Permit:
        """A permit, in the group's turn, for at most `bound` tokens; `deadline` is in the loop's time; `again` marks a retry.

        Raises RateLimited at once where the queue is full, or the wait known now would end after the deadline.
        """
        loop = asyncio.get_running_loop()
        permit = Permit(loop, bound)
        waiter: Waiter | None = None
        with self._lock:
            now = self._now()
            if not self._queue.size and self._wait(now, bound) <= 0.0:
                return self._take(now, permit)
            stands, wait = self._loops.stands, self._rate_wait(now, bound)
            if stands and wait <= 0.0:
                return self._take(now, permit)
            self._refuse(wait, deadline, loop)
            if not stands:
                waiter = Waiter(permit, group)
                self._queue.add(waiter, again=again)
                self._loops.change(+1, loop)
                self._go_on(now)
        if waiter is None:
            return await self._past_the_queue(permit)
        try:
            await waiter.future
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise
        return permit

    def release(self, permit: Permit, tokens: float = 0.0, error: BaseException | None = None) -> None:
        """Give a permit back, with what the attempt took and how it ended."""
        with self._lock:
            now = self._now()
            if permit.tokens is not None and self._tokens is not None:
                self._tokens.settle(permit.tokens, tokens)
                if error is None and permit.bound:
                    self._share += LEARNING * (tokens / permit.bound - self._share)
            if self._adaptive is not None:
                self._adaptive.ended(now, now - permit.began, error, self.used)
            self._back(now, permit)

    def withdraw(self, permit: Permit) -> None:
        """Give back a permit that nothing was sent with."""
        with self._lock:
            if permit.request is not None and self._requests is not None:
                self._requests.settle(permit.request, 0.0)
            if permit.tokens is not None and self._tokens is not None:
                self._tokens.settle(permit.tokens, 0.0)
            self._back(self._now(), permit)

    def hear(self, status: int, headers: Mapping[str, str]) -> None:
        """Take note of what an endpoint says of its limits; header names in lower case."""
        if status not in ASK_TO_WAIT and TOLD.isdisjoint(headers):
            return
        requests, tokens = told(headers, "requests"), told(headers, "tokens")
        wait = _asked_wait(headers) if status in ASK_TO_WAIT else None
        if requests is None and tokens is None and wait is None:
            return
        with self._lock:
            now = self._clock.monotonic()
            if requests is not None:
                self._told_requests.hear(now, *requests)
            if tokens is not None:
                self._told_tokens.hear(now, *tokens)
            if wait is not None:
                self._asked_until = max(self._asked_until, now + wait)
                self._paused_until = max(self._paused_until, now + min(wait, LONGEST_S))
            self._has_rates, self._is_timed, self.is_unlimited = True, True, False
            self._go_on(now)

    # Under the lock

    def _now(self) -> float:
        return self._clock.monotonic() if self._is_timed else 0.0

    def _wait(self, now: float, bound: float) -> float:
        """Seconds until the next permit; infinite where one must come back first."""
        return INFINITE if self.used >= self.limit else self._rate_wait(now, bound)

    def _rate_wait(self, now: float, bound: float) -> float:
        if not self._has_rates:
            return 0.0
        tokens = bound * self._share
        return max(
            0.0,
            self._paused_until - now,
            self._requests.wait(now, 1.0) if self._requests else 0.0,
            self._tokens.wait(now, tokens) if self._tokens else 0.0,
            self._told_requests.wait(now, 1.0),
            self._told_tokens.wait(now, tokens),
        )

    def _refuse(self, wait: float, deadline: float | None, loop: asyncio.AbstractEventLoop) -> None:
        if self._queue.size >= self.queue_limit:
            raise RateLimited(
                f"{self.queue_limit} attempts wait already for their turn at this endpoint. Start fewer at once.",
                code="queue_full",
                retryable=False,
            )
        now = self._now()
        asked = self._asked_until - now
        if deadline is None and asked > DEFAULT_TIMEOUT_S and self._paused_until > now:
            raise RateLimited(
                f"This endpoint has asked to be left alone for {asked:.0f} s more.", retry_after=asked, retryable=False
            )
        if deadline is not None and INFINITE > wait > deadline - loop.time():
            raise RateLimited(
                f"The limits of this endpoint let it through in {wait:.1f} s, which is after the call's deadline.",
                retry_after=wait,
                retryable=False,
            )

    def _take(self, now: float, permit: Permit) -> Permit:
        permit.began = now
        self.used += 1
        self._loops.change(+1, permit.loop)
        if not self._has_rates:
            return permit
        tokens = permit.bound * self._share
        self._told_requests.take(1.0)
        self._told_tokens.take(tokens)
        if self._requests is not None:
            permit.request = self._requests.take(now, 1.0)
        if self._tokens is not None:
            permit.tokens = self._tokens.take(now, tokens)
        return permit

    def _back(self, now: float, permit: Permit) -> None:
        self.used -= 1
        self._loops.change(-1, permit.loop)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Let those through whose turn it is, and be called again when the next one may go."""
        queue = self._queue
        while queue.size:
            waiter = queue.first
            permit = waiter.permit
            wait = self._wait(now, permit.bound)
            if wait == INFINITE:
                return
            try:
                if wait > 0.0:
                    self._call_at(now, now + wait, permit.loop)
                    return
                permit.loop.call_soon_threadsafe(self._deliver, waiter)
            except RuntimeError:  # of a closed loop, whose waiter is gone with it
                is_alive = False
            else:
                is_alive = True
            queue.take_first()
            self._loops.change(-1, permit.loop)
            if is_alive:
                self._take(now, permit)

    def _call_at(self, now: float, when: float, loop: asyncio.AbstractEventLoop) -> None:
        # One timer, on the loop of whoever is first: should that loop end, its waiter goes and the next one sets his.
        if self._timer is not None and self._timer[1] is loop and self._timer[0] <= when:
            return
        timer = (when, loop)
        loop.call_soon_threadsafe(loop.call_later, when - now, self._rung, timer)
        self._timer = timer

    # Between loops

    def _rung(self, timer: tuple[float, asyncio.AbstractEventLoop]) -> None:
        with self._lock:
            if self._timer is timer:
                self._timer = None
            self._go_on(self._now())

    def _deliver(self, waiter: Waiter) -> None:
        if waiter.future.done():
            self.withdraw(waiter.permit)
        else:
            waiter.future.set_result(None)

    def _give_up(self, waiter: Waiter) -> None:
        with self._lock:
            if self._queue.discard(waiter):
                self._loops.change(-1, waiter.permit.loop)
                self._go_on(self._now())
                return
        # The permit was on its way: if it has arrived it is ours to return, else it finds us gone.
        if waiter.future.done() and not waiter.future.cancelled():
            self.withdraw(waiter.permit)

    async def _past_the_queue(self, permit: Permit) -> Permit:
        while True:
            with self._lock:
                now = self._now()
                wait = self._rate_wait(now, permit.bound)
                if wait <= 0.0:
                    return self._take(now, permit)
            await self._clock.sleep(wait)


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    from dspex.plugin.statuses import retry_after

    return retry_after(headers)
