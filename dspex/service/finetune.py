"""Trainings of a provider that has them: begun, looked at and ended through the same attempts as its calls."""

from typing import Any

from dspex.core.errors import ProtocolError
from dspex.core.finetune import FineTuneSpec, FineTuneStatus
from dspex.service.aside import asked
from dspex.service.call import Options
from dspex.service.lm import LMService

CANCEL_LIMIT_S = 5.0


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
    job = await asked(service, lambda: provider.finetune_start(spec), Options())
    if not isinstance(job, str) or not job:
        raise ProtocolError(
            f"finetune_start gave {job!r:.80}, not the id of a job.", model=service.name, retryable=False
        )
    return job


async def looked_at(service: LMService, job: str) -> FineTuneStatus:
    """How far a training is. Raises LMError classes, PluginError."""
    provider: Any = service.provider
    status = await asked(service, lambda: provider.finetune_status(job), Options())
    if not isinstance(status, FineTuneStatus) or (status.state == "succeeded" and not status.model):
        said = f"finetune_status gave {status!r:.120}, not a FineTuneStatus, with the model's name at its end."
        raise ProtocolError(said, model=service.name, retryable=False)
    return status


async def ended(service: LMService, job: str) -> None:
    """Let the provider end a training. Raises LMError classes, PluginError."""
    cancel = getattr(service.provider, "finetune_cancel", None)
    if cancel is not None:
        await asked(service, lambda: cancel(job), Options(timeout=CANCEL_LIMIT_S))
