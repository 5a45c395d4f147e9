"""Trainings of a provider that has them: begun, looked at and ended through the same attempts as its calls."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from dspex.core.errors import ProtocolError
from dspex.core.finetune import FineTuneSpec, FineTuneStatus
from dspex.service.call import Options
from dspex.service.ledger import Charge
from dspex.service.lm import LMService

T = TypeVar("T")

CANCEL_LIMIT_S = 5.0
NOTHING = Charge()


def can_train(service: LMService) -> bool:
    """Whether the provider has the hook."""
    return hasattr(service.provider, "finetune_start")


def cost_of(service: LMService, spec: FineTuneSpec) -> float | None:
    """What the provider thinks that a training costs at most, in dollars; None if it does not say."""
    estimate = getattr(service.provider, "finetune_cost", None)
    return None if estimate is None else estimate(spec)


async def begun(service: LMService, spec: FineTuneSpec) -> str:
    """The id of the training of that `key`, begun now or before. Raises LMError classes, PluginError."""
    provider: Any = service.provider
    job = await _asked(service, lambda: provider.finetune_start(spec), Options())
    if not isinstance(job, str) or not job:
        raise ProtocolError(
            f"finetune_start gave {job!r:.80}, not the id of a job.", model=service.name, retryable=False
        )
    return job


async def looked_at(service: LMService, job: str) -> FineTuneStatus:
    """How far a training is. Raises LMError classes, PluginError."""
    provider: Any = service.provider
    status = await _asked(service, lambda: provider.finetune_status(job), Options())
    if not isinstance(status, FineTuneStatus) or (status.state == "succeeded" and not status.model):
        said = f"finetune_status gave {status!r:.120}, not a FineTuneStatus, with the model's name at its end."
        raise ProtocolError(said, model=service.name, retryable=False)
    return status


async def ended(service: LMService, job: str) -> None:
    """Let the provider end a training. Raises LMError classes, PluginError."""
    cancel = getattr(service.provider, "finetune_cancel", None)
    if cancel is not None:
        await _asked(service, lambda: cancel(job), Options(timeout=CANCEL_LIMIT_S))


async def _asked(service: LMService, send: Callable[[], Awaitable[T]], options: Options) -> T:
    await service.ready()
    attempts = service.attempts
    call = attempts.begin(options)
    attempt = partial(attempts.once, call, lambda _needs_price: NOTHING, send, lambda _reply: NOTHING)
    return await attempts.in_time(call, attempt, again=True)
