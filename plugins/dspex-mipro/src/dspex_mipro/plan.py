"""What a run of MIPROv2 consists of, from its arguments and the sizes of program and data; and what that may cost."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from dspex import ConfigurationError, Estimate, Range, Shape

# How many candidates a mode has, and how many validation examples at most.
MODES: Mapping[str, tuple[int, int]] = {"light": (6, 100), "medium": (12, 300), "heavy": (18, 1_000)}
MINIBATCH_FROM = 50  # a mode's valset of no more than that is run whole
SHOWN_DEMOS = 3  # runs that a proposal is shown, and that are bootstrapped for it where the program is to have none
MOST_SAMPLES = 10  # of the data, to look at


class Plan(msgspec.Struct, frozen=True):
    """The numbers of a run: `sets` of demonstrations and `instructions` a predictor include those that the student has.

    `batch` is the size of a minibatch, None where each trial runs on the whole valset; `every` is the number of trials
    after which one point is run on all of it.
    """

    sets: int
    instructions: int
    trials: int
    demos: int
    labels: int
    is_zero_shot: bool
    batch: int | None
    every: int

    @property
    def bootstraps(self) -> int:
        """How many of the sets are made by running a teacher."""
        without = 2 if self.labels else 1
        return max(0, self.sets - without) if self.demos else 0

    @property
    def full_runs(self) -> int:
        """Runs on the whole valset, that of the student not among them."""
        return math.ceil(self.trials / self.every) if self.batch else self.trials

    def runs(self, val: int) -> int:
        """Runs of programs on `val` validation examples in all."""
        return val * (1 + self.full_runs) + self.trials * (self.batch or 0)

    def new_runs(self, val: int) -> int:
        """Those of them, at most, that were not made before: a point that is run on all was run on a minibatch."""
        return self.runs(val) - self.full_runs * (self.batch or 0)


def planned(optimizer: Any, arguments: Mapping[str, Any], predictors: int, val: int) -> Plan:
    """The plan of a MIPROv2 with these arguments of `compile`. Raises ConfigurationError where they do not fit."""
    demos = _either(arguments["max_bootstrapped_demos"], optimizer.max_bootstrapped_demos)
    labels = _either(arguments["max_labeled_demos"], optimizer.max_labeled_demos)
    is_zero_shot = demos == labels == 0
    count, trials = _counted(optimizer, arguments["num_trials"], predictors, is_zero_shot)
    is_mode = optimizer.auto is not None
    return Plan(
        # Without demonstrations to choose from, runs of a teacher are of use to the proposals only.
        sets=1 if is_zero_shot and not arguments["fewshot_aware_proposer"] else count,
        instructions=count // 2 if is_mode and not is_zero_shot else count,
        trials=trials,
        demos=SHOWN_DEMOS if is_zero_shot else demos,
        labels=labels,
        is_zero_shot=is_zero_shot,
        batch=_batch(arguments, val, is_mode),
        every=arguments["minibatch_full_eval_steps"],
    )


def estimated(plan: Plan, shape: Shape, arguments: Mapping[str, Any]) -> Estimate:
    """Bounds of the calls: the search's are exact where each run takes as many as `calls_per_run`."""
    runs = plan.new_runs(shape.val) * shape.calls_per_run
    samples = min(MOST_SAMPLES, math.ceil(shape.train / arguments["view_data_batch_size"]))
    about_data = samples + 1 if arguments["data_aware_proposer"] else 0
    about_program = 1 + shape.predictors if arguments["program_aware_proposer"] else 0
    asks = about_data + about_program if plan.instructions > 1 else 0
    return Estimate(
        task=Range(shape.val * shape.calls_per_run, runs),
        teacher=Range(0, plan.bootstraps * shape.train * shape.calls_per_run),
        prompt=Range(0, asks + shape.predictors * (plan.instructions - 1)),
    )


def trials_for(count: int, predictors: int, is_zero_shot: bool) -> int:
    """How many trials a search among `count` candidates of each kind is given."""
    variables = predictors if is_zero_shot else 2 * predictors
    return int(max(2 * variables * math.log2(count), 1.5 * count))


def _counted(optimizer: Any, trials: int | None, predictors: int, is_zero_shot: bool) -> tuple[int, int]:
    """Candidates and trials. Raises ConfigurationError unless they are given either by a mode or by numbers."""
    count, auto = optimizer.num_candidates, optimizer.auto
    if auto is not None:
        if count is not None or trials is not None:
            raise ConfigurationError(
                f"auto={auto!r} says how many candidates and trials there are: leave num_candidates and num_trials out, or "
                "pass auto=None."
            )
        count = MODES[auto][0]
        return count, trials_for(count, predictors, is_zero_shot)
    if count is None or trials is None:
        some = count or MODES["light"][0]
        likely = trials_for(some, predictors, is_zero_shot)
        raise ConfigurationError(
            f"auto=None needs both numbers: MIPROv2(num_candidates={some}) and compile(num_trials={likely}), say."
        )
    return count, trials


def _batch(arguments: Mapping[str, Any], val: int, is_mode: bool) -> int | None:
    size: int = arguments["minibatch_size"]
    if not arguments["minibatch"] or (is_mode and val <= MINIBATCH_FROM):
        return None
    if size > val:
        raise ConfigurationError(
            f"minibatch_size={size}: there are {val} validation examples. Make it smaller, or pass minibatch=False."
        )
    return size


def _either(given: int | None, own: int) -> int:
    return own if given is None else given
