"""What is asked of a provider beside its calls: through the same attempts, and charged to nobody."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from dspex.service.call import Options
from dspex.service.ledger import Charge

if TYPE_CHECKING:
    from dspex.service.lm import LMService

T = TypeVar("T")

NOTHING = Charge()


async def asked(service: "LMService", send: Callable[[], Awaitable[T]], options: Options) -> T:
    """What `send` gives. Raises LMError classes, PluginError."""
    await service.ready()
    attempts = service.attempts
    call = attempts.begin(options)
    attempt = partial(attempts.once, call, lambda _needs_price: NOTHING, send, lambda _reply: NOTHING)
    return await attempts.in_time(call, attempt, again=True)
