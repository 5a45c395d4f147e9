"""Attempts: a module run again and again on the same inputs, each time as another sample, and the best one kept."""

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import BudgetExceeded, ConfigurationError, EvaluationError, RecursionLimit
from dspex.program.module import Module
from dspex.program.named_functions import function_data
from dspex.program.provenance import said_of
from dspex.runtime.scope import SCOPE, use
from dspex.runtime.worker_threads import in_thread

TEMPERATURE = 1.0  # at a model's greedy setting all attempts would be the same
# No further attempt can mend these. A budget that is spent must not look like a bad answer either.
_FATAL = (BudgetExceeded, RecursionLimit, ConfigurationError)

Trace = list[tuple[Any, Any, Any]]
Reward = Callable[[dict[str, Any], Any], Any]


class Attempt(msgspec.Struct, frozen=True):
    """One run that ended well: `trace` has (predictor, inputs, prediction) of each call in it."""

    prediction: Any
    reward: float
    trace: Trace


class Attempts:
    """The attempts of one call. One failure more than `fail_count` raises its own error."""

    def __init__(self, inputs: dict[str, Any], reward_fn: Reward, fail_count: int) -> None:
        self._inputs = inputs
        self._reward_fn = reward_fn
        self._left = fail_count
        self._failure: BaseException | None = None
        self.best: Attempt | None = None

    async def run(
        self, program: Module, number: int, restored: Callable[[Trace], Trace] | None = None
    ) -> Attempt | None:
        """One attempt, None if it failed; `number` tells its sample from the others'.

        `restored` makes the trace of a changed copy that of the program itself.
        """
        try:
            attempt = await self._made(program, number)
        except _FATAL:
            raise
        except (Exception, SystemExit) as failure:
            self._failure = failure
            if self._left == 0:
                raise
            self._left -= 1
            return None
        if restored is not None:
            attempt = msgspec.structs.replace(attempt, trace=restored(attempt.trace))
        if self.best is None or attempt.reward > self.best.reward:
            self.best = attempt
        return attempt

    async def _made(self, program: Module, number: int) -> Attempt:
        trace: Trace = []
        scope = SCOPE.get()
        params = {
            **scope.overlay.get("lm_params", {}),
            "temperature": TEMPERATURE,
            "rollout_id": _sample(program, number),
        }
        with use(overlay={**scope.overlay, "lm_params": params}, trace=trace, listener=None):
            prediction = await program.acall(**self._inputs)
        return Attempt(prediction, await rewarded(self._reward_fn, self._inputs, prediction), trace)

    async def result(self) -> Any:
        """The best prediction; its calls go into the trace, and to who listens. Raises the last failure if there is none."""
        if self.best is None:
            assert self._failure is not None
            raise self._failure
        scope = SCOPE.get()
        if scope.trace is not None:
            scope.trace.extend(self.best.trace)
        if scope.listener is not None:
            # Attempts that are given up must not be heard, so the one that counts is told when it is known.
            for predictor, _, prediction in self.best.trace:
                hearing = scope.listener.hearing(predictor, predictor.signature.compiled)
                if hearing is not None:
                    await hearing.settle(prediction)
        return self.best.prediction


def _sample(program: Module, number: int) -> Any:
    """The rollout id of an attempt: within another attempt, or a compile's sample, it is one of that one's."""
    outer = SCOPE.get().overlay.get("lm_params", {}).get("rollout_id")
    if outer is not None:
        return f"{outer}.{number}"
    lms = [part.lm for part in program.predictors() if part.lm is not None]
    lm = lms[0] if lms else current_app().settings.lm
    start = lm.kwargs.get("rollout_id") if lm is not None else None
    return f"{start}.{number}" if isinstance(start, str) else (start or 0) + number


async def rewarded(reward_fn: Reward, inputs: Mapping[str, Any], prediction: Any) -> float:
    """What a reward function, sync or async or a module, gives. Raises EvaluationError for what is no number."""
    call: Any = reward_fn.func if isinstance(reward_fn, _Held) else reward_fn
    call = getattr(call, "acall", call)
    given = (dict(inputs), prediction)
    found = await call(*given) if inspect.iscoroutinefunction(call) else await in_thread(call, *given)
    value = await found if inspect.isawaitable(found) else found
    try:
        reward = float(value)
    except (TypeError, ValueError):
        reward = math.nan
    if math.isnan(reward):
        raise EvaluationError(f"The reward function {_name(reward_fn)} gave {value!r:.80}, which is no number.")
    return reward


class _Held(partial[Any]):
    """A module that is no part of the one that holds it: a judge is neither optimised nor saved with what it judges."""


def held(reward_fn: Reward) -> Reward:
    """The function as an attribute of a module. Raises ConfigurationError for what cannot be called."""
    if not callable(reward_fn):
        raise ConfigurationError(
            f"A reward function is called with (inputs, prediction), not a {type(reward_fn).__name__}."
        )
    return _Held(reward_fn) if isinstance(reward_fn, Module) else reward_fn


def attempts_recipe(program: Any) -> dict[str, Any]:
    """What makes a module of attempts again: the module that is run, and the place of the reward."""
    reward = program.reward_fn.func if isinstance(program.reward_fn, _Held) else program.reward_fn
    kept = {name: getattr(program, name) for name in ("N", "threshold", "fail_count")}
    return {"module": said_of(program.module), "reward_fn": function_data("reward_fn", reward), **kept}


def checked(module: Any, n: int, fail_count: int | None) -> int:
    """How many failures are borne. Raises ConfigurationError for arguments that cannot be meant."""
    if not isinstance(module, Module):
        raise ConfigurationError(f"Attempts are made with a dspex.Module, not with a {type(module).__name__}.")
    if n < 1 or (fail_count is not None and fail_count < 0):
        raise ConfigurationError(f"N={n}, fail_count={fail_count}: at least one attempt, and no failures below 0.")
    return n if fail_count is None else fail_count


def _name(reward_fn: Any) -> str:
    inner = reward_fn.func if isinstance(reward_fn, _Held) else reward_fn
    return repr(getattr(inner, "__name__", type(inner).__name__))
