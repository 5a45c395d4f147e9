"""One call for who does not want to choose an optimizer."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from dspex.core.example import Example
from dspex.core.usage import Budget
from dspex.engine.optimizer import Optimizer, optimizer_class
from dspex.program.module import Module

M = TypeVar("M", bound=Module)

DEFAULT_CALLS = 300


def optimize(
    program: M,
    trainset: Sequence[Example],
    metric: Any,
    budget: Budget | int | None = None,
    *,
    prompt_model: Any = None,
    **options: Any,
) -> M:
    """A better program for at most `budget`, a Budget or a number of calls (300 where none is given), with its evidence.

    Several strategies run against each other (StrategyRace, of dspex-optimizers); which, depends on the data, the model and
    the budget, by rules that its page gives. `prompt_model` is an LM for new instructions, which are not tried without one.
    `options` are those of `Optimizer.compile`: `valset`, `keep`, `holdout`, `run_dir`, `seed` and so on. What comes back is the
    winner if its gain, corrected for the choice, is above zero, and else the program as it was; with `keep="better"` the
    winner only if its gain is shown. Raises BudgetExceeded where the calls do not cover one look at the program itself.
    """
    racing, terms = _racing(metric, budget, prompt_model)
    return racing.compile(program, trainset=trainset, budget=terms, **options)


async def aoptimize(
    program: M,
    trainset: Sequence[Example],
    metric: Any,
    budget: Budget | int | None = None,
    *,
    prompt_model: Any = None,
    **options: Any,
) -> M:
    """`optimize` on the running loop."""
    racing, terms = _racing(metric, budget, prompt_model)
    return await racing.acompile(program, trainset=trainset, budget=terms, **options)


def _racing(metric: Any, budget: Budget | int | None, prompt_model: Any) -> tuple[Optimizer, Budget]:
    given = budget if isinstance(budget, Budget) else Budget(calls=DEFAULT_CALLS if budget is None else budget)
    # A number of calls is planned with. Of tokens, dollars and seconds it is not known what a call will take: they end it.
    terms = msgspec.structs.replace(given, on_short="fit" if given.calls is not None else "stop")
    maker: Any = optimizer_class("StrategyRace")
    calls = DEFAULT_CALLS if given.calls is None else max(1, given.calls)  # none at all is for the quote to refuse
    racing: Optimizer = maker(metric, calls, prompt_model=prompt_model)
    return racing, terms
