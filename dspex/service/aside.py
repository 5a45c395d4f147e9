"""What is asked of a provider beside its calls: through the same attempts, and charged to nobody."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from dspex.core.clock import Clock
from dspex.core.errors import LMError
from dspex.service.attempts import Attempts
from dspex.service.call import Options
from dspex.service.ledger import NOTHING
from dspex.service.retry import is_retryable_lm_error

T = TypeVar("T")

LAST_LOOK_S = 60.0  # between two looks, doubled each time
FAILED_LOOKS = 30  # in a row: about half an hour without an answer


class Status(Protocol):
    """How far a thing is that goes on at a provider; `wait` is how many seconds it asks to be left alone."""

    @property
    def wait(self) -> float | None: ...


S = TypeVar("S", bound=Status)


class Service(Protocol):
    """What is known here of the service that asks."""

    name: str
    provider: Any
    attempts: Attempts

    @property
    def clock(self) -> Clock: ...

    async def ready(self) -> None: ...


async def asked(service: Service, send: Callable[[], Awaitable[T]], options: Options) -> T:
    """What `send` gives. Raises LMError classes, PluginError."""
    await service.ready()
    attempts = service.attempts
    call = attempts.begin(options)
    attempt = partial(attempts.once, call, lambda _needs_price: NOTHING, send, lambda _reply: NOTHING)
    return await attempts.in_time(call, attempt, again=True)


async def watched(
    clock: Clock, first_look_s: float, look: Callable[[], Awaitable[S]], is_over: Callable[[S], bool]
) -> S:
    """The first status that says so, looked for less and less often. Raises LMError classes where nobody can say."""
    wait, failed = first_look_s, 0
    while True:
        status: S | None = None
        try:
            status, failed = await look(), 0
        except LMError as error:
            failed += 1
            if failed >= FAILED_LOOKS or not is_retryable_lm_error(error):
                raise
        if status is not None and is_over(status):
            return status
        asked_for = status.wait if status is not None else None
        await clock.sleep(wait if asked_for is None else asked_for)
        wait = min(2 * wait, LAST_LOOK_S)
