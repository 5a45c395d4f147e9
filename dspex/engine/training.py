"""A step that trains a model: begun once, whatever is killed, and waited for."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.app.lm import LM
from dspex.core.errors import BudgetExceeded, ConfigurationError, DspexError, LMError
from dspex.core.finetune import ENDED, FineTuneSpec, FineTuneStatus, LMRef
from dspex.core.identity import digest
from dspex.core.usage import Usage
from dspex.engine.recorder import StepRecorder
from dspex.engine.scheduler import Stop
from dspex.engine.spend import Spend
from dspex.engine.steps import Steps, StepWork, Trained, key
from dspex.runtime.records import Training
from dspex.runtime.scope import SCOPE
from dspex.service.aside import watched
from dspex.service.finetune import begun, can_train, cost_of, ended, looked_at
from dspex.service.ledger import BudgetScope, Charge, reserve_all
from dspex.service.lm import LMService
from dspex.service.retry import is_retryable_lm_error

FIRST_LOOK_S = 2.0
SECRETS = frozenset({"api_key", "authorization", "headers", "token", "password", "secret"})


class TrainingWork(StepWork):
    """A training; what it costs says nothing about other steps."""

    kind = "finetune"
    type = Trained
    is_typical = False
    __slots__ = ("_bound", "_service", "_spec", "_steps")

    def __init__(self, steps: Steps, lm: LM, spec: FineTuneSpec, usd: float | None) -> None:
        step = key("finetune", digest([lm.identity, spec.rows, spec.format, spec.train_kwargs]))
        self._service: LMService = lm.service
        self._spec = msgspec.structs.replace(spec, model=self._service.endpoint.model, key=step)
        most = _bound(steps, lm, self._spec, usd)
        super().__init__(step, Spend(nanos=round(most * 1e9)), step, "finetune")
        self._bound = Charge(0, 0, most)
        self._steps = steps

    async def make(self, recorder: StepRecorder) -> Trained:
        """What came of it. Raises LMError classes where nobody can say."""
        scopes = SCOPE.get().budgets + current_app().shared.ceilings()
        try:
            await reserve_all(scopes, self._bound)
            return await self._paid(scopes)
        except BudgetExceeded as error:
            recorder.failure = error
            raise

    async def _paid(self, scopes: Sequence[BudgetScope]) -> Trained:
        usd = 0.0
        try:
            job = self._steps.tape.trainings.get(self.step) or await self._begun()
            status = await self._watched(job)
            usd = self._bound.usd if status.usd is None else status.usd
            self._noted(job, status.state, usd)
        finally:
            for scope in scopes:
                scope.settle(self._bound, Charge(0, 0, usd))
        is_ok = status.state == "succeeded"
        said = f"the training {job!r} of {self._service.name} {status.state}: {status.error}".rstrip(": ")
        return Trained(status.model, job, is_ok, "" if is_ok else said, Usage(usd=usd))

    def failed(self, error: BaseException, usage: Usage) -> Trained | None:
        """What the provider refuses is a result; where it cannot be reached, another process may go on."""
        if not isinstance(error, LMError) or is_retryable_lm_error(error):
            return None
        text = f"{type(error).__name__}: {error}"[:1_000].encode(errors="replace").decode()
        return Trained(ok=False, error=f"no training of {self._service.name}: {text}", usage=usage)

    async def _begun(self) -> str:
        job = await begun(self._service, self._spec)
        self._noted(job)
        # Asking for it again would give the same job; but not every provider may keep to that.
        await asyncio.to_thread(self._steps.tape.journal.sync)
        return job

    def _noted(self, job: str, state: str = "", usd: float = 0.0) -> None:
        self._steps.tape.trained(Training(self.step, job, state, usd))

    async def _watched(self, job: str) -> FineTuneStatus:
        """The last word on a training. Where the run is stopped, and not merely left, the training ends too."""
        try:
            look = partial(looked_at, self._service, job)
            return await watched(self._steps.tape.clock, FIRST_LOOK_S, look, lambda one: one.state in ENDED)
        except asyncio.CancelledError:
            if isinstance(self._steps.scheduler.stopped, Stop):
                self._noted(job, "cancelled")
                await self._let_go(job)
            raise

    async def _let_go(self, job: str) -> None:
        try:
            await ended(self._service, job)
        except DspexError as error:
            self._steps.notes.append(f"the training {job!r} could not be ended: {error}")


def check_training(steps: Steps, lm: Any, usd: float | None, train_kwargs: Mapping[str, Any]) -> None:
    """Raises ConfigurationError for a model that cannot be trained, a price that is needed and unknown, and keys in arguments."""
    if not isinstance(lm, LM) or getattr(lm, "lms", None) is not None or not can_train(lm.service):
        raise ConfigurationError(
            f"{lm!r} cannot be trained: its provider has no finetune_start. Give the program an LM whose provider has one "
            "(program.set_lm(...))."
        )
    if steps.limits_usd and usd is None and not hasattr(lm.service.provider, "finetune_cost"):
        raise ConfigurationError(
            f"The budget has usd, and nobody knows what a training of {lm!r} costs: say usd=, the most that it may."
        )
    found = sorted(name for name in train_kwargs if name.lower() in SECRETS)
    if found:
        raise ConfigurationError(
            f"train_kwargs has {', '.join(found)}: keys and headers are the LM's own, and stand in no run's journal."
        )


def reference(lm: LM, model: str) -> LMRef:
    """The new model by the name that an LM has it under."""
    provider, slash, _ = lm.model.partition("/")
    return {"model": f"{provider}/{model}" if slash else model}


def _bound(steps: Steps, lm: LM, spec: FineTuneSpec, usd: float | None) -> float:
    check_training(steps, lm, usd, spec.train_kwargs)
    most = cost_of(lm.service, spec) if usd is None else usd
    if most is None and steps.limits_usd:
        raise ConfigurationError(
            f"The budget has usd, and the provider of {lm!r} cannot say what this training costs: say usd=, the most that it may."
        )
    return most or 0.0
