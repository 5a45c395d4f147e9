"""What is asked of a provider beside its calls: through the same attempts, and charged to nobody."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from dspex.core.clock import Clock
from dspex.service.attempts import Attempts
from dspex.service.call import Options
from dspex.service.ledger import Charge

T = TypeVar("T")

NOTHING = Charge()


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
