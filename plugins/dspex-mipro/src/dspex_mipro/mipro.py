"""MIPROv2: instructions and demonstrations chosen together."""

import copy
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from dspex import Budget, Candidate, ConfigurationError, Estimate, Example, Job, Module, Optimizer, Shape
from dspex_mipro.checks import alike, at_least, not_negative, one_of, unused
from dspex_mipro.demos import demo_sets
from dspex_mipro.plan import MODES, Plan, estimated, planned
from dspex_mipro.proposing import Grounds, data_summary, described, instructions
from dspex_mipro.search import Schedule, Search
from dspex_mipro.space import space_of

VAL_SHARE, VAL_MOST = 0.8, 1_000  # of a trainset where no valset is given
RACE_Z = 2.4


class MIPROv2(Optimizer):
    """Instructions that `prompt_model` proposes and sets of demonstrations, searched together by a Bayesian optimizer.

    `auto` sets how many candidates there are, how many trials and at most how many validation examples ("light": 6 and 100,
    "medium": 12 and 300, "heavy": 18 and 1,000); None takes `num_candidates` and `compile(num_trials=)`. Trials run on
    minibatches, and every `minibatch_full_eval_steps` of them the best point so far on the whole valset. Without a valset it
    is the last four fifths of the trainset. With both demo limits 0 only instructions are searched. `task_model` runs the
    program, `teacher_settings` are laid over that for bootstrapping. `seed` stands unless `compile(seed=)` gives one, and
    `log_dir` for its `run_dir`; `verbose` writes a line a trial to standard error.

    Beyond DSPy: `summary="parallel"` looks at the samples of the data side by side, `race=True` (or the z of it) ends trials
    on the whole valset that have clearly lost. Source: Opsahl-Ong et al., 2406.11695.
    """

    compile_arguments = MappingProxyType(
        {
            "num_trials": None,
            "max_bootstrapped_demos": None,
            "max_labeled_demos": None,
            "minibatch": True,
            "minibatch_size": 35,
            "minibatch_full_eval_steps": 5,
            "program_aware_proposer": True,
            "data_aware_proposer": True,
            "view_data_batch_size": 10,
            "tip_aware_proposer": True,
            "fewshot_aware_proposer": True,
            "requires_permission_to_run": None,
            "provide_traceback": None,
        }
    )

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        metric: Any,
        prompt_model: Any = None,
        task_model: Any = None,
        teacher_settings: Mapping[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 4,
        auto: Literal["light", "medium", "heavy"] | None = "light",
        num_candidates: int | None = None,
        num_threads: int | None = None,
        max_errors: int | None = None,
        seed: int = 9,
        init_temperature: float = 1.0,
        verbose: bool = False,
        track_stats: bool = True,
        log_dir: str | None = None,
        metric_threshold: float | None = None,
        *,
        summary: Literal["chain", "parallel"] = "chain",
        race: bool | float = False,
    ) -> None:
        if metric is None:
            raise ConfigurationError("A search needs a metric to tell programs apart: metric=...")
        one_of(auto=(auto, [None, *MODES]), summary=(summary, ["chain", "parallel"]))
        at_least(0, max_bootstrapped_demos=max_bootstrapped_demos, max_labeled_demos=max_labeled_demos, seed=seed)
        at_least(1, num_candidates=num_candidates, num_threads=num_threads, max_errors=max_errors)
        not_negative(init_temperature=init_temperature, race=int(race) if isinstance(race, bool) else race)
        self.metric = metric
        self.prompt_model = prompt_model
        self.task_model = task_model
        self.teacher_settings = teacher_settings
        self.max_bootstrapped_demos = max_bootstrapped_demos
        self.max_labeled_demos = max_labeled_demos
        self.auto: str | None = auto
        self.num_candidates = num_candidates
        self.num_threads = num_threads
        self.max_errors = max_errors
        self.seed = seed
        self.init_temperature = init_temperature
        self.verbose = verbose
        self.track_stats = track_stats
        self.log_dir = log_dir
        self.metric_threshold = metric_threshold
        self.summary = summary
        self.race = race
        self._most_trials: int | None = None  # that a budget suffices for

    def start(
        self,
        student: Module,
        *,
        trainset: Sequence[Example],
        teacher: Module | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> Job:
        """Begin to compile, and return at once. Raises ConfigurationError for arguments that do not fit together."""
        alike(student, teacher)
        if options.get("run_dir") is None:
            options["run_dir"] = self.log_dir
        seed = self.seed if seed is None else seed
        return super().start(student, trainset=trainset, teacher=teacher, seed=seed, **options)

    def roles(self) -> dict[str, Mapping[str, Any]]:
        """As of any optimizer; `task_model` runs the program, and the teacher that has no model of its own."""
        own = {"lm": self.task_model} if self.task_model is not None else {}
        return {**super().roles(), "task": own, "teacher": {**own, **(self.teacher_settings or {})}}

    def parts(self, train: list[Example], val: list[Example], rng: Any) -> tuple[list[Example], list[Example]]:
        """A valset out of the trainset where none was given, and no larger than the mode's."""
        if not val:
            if len(train) < 2:
                raise ConfigurationError("The trainset has one example: without a valset two are needed.")
            count = min(VAL_MOST, max(1, int(len(train) * VAL_SHARE)))
            train, val = train[:-count], train[-count:]
        most = MODES[self.auto][1] if self.auto is not None else len(val)
        return train, rng.sample(val, most) if len(val) > most else val

    def plan(self, arguments: Mapping[str, Any], predictors: int, val: int) -> Plan:
        """What a compile with these arguments consists of. Raises ConfigurationError."""
        given = {**self.compile_arguments, **arguments}
        sizes = ("minibatch_size", "minibatch_full_eval_steps", "view_data_batch_size")
        at_least(1, num_trials=given["num_trials"], **{name: given[name] for name in sizes})
        if self._most_trials is not None:
            given["num_trials"] = min(given["num_trials"], self._most_trials)
        at_least(0, **{name: given[name] for name in ("max_bootstrapped_demos", "max_labeled_demos")})
        unused(
            requires_permission_to_run=(given["requires_permission_to_run"], "the budget is what asks"),
            provide_traceback=(given["provide_traceback"], "a failed example is a row with its error"),
        )
        return planned(self, given, predictors, val)

    def estimate(self, shape: Shape) -> Estimate:
        """Each trial, each full run, each question; and for a set of bootstrapped demonstrations the whole trainset."""
        plan = self.plan(shape.arguments, shape.predictors, shape.val)
        return estimated(plan, shape, {**self.compile_arguments, **shape.arguments})

    def fit(self, shape: Shape, budget: Budget) -> "MIPROv2 | None":
        """The same in a lighter mode, the first that the calls suffice for, else the lightest.

        Without a mode it is with fewer candidates, and trials in proportion; None where the calls do not suffice for two.
        """
        if self.auto is None:
            return self._with_fewer(shape, budget)
        modes = list(MODES)
        lighter = self
        for mode in reversed(modes[: modes.index(self.auto) + 1]):
            lighter = copy.copy(self)
            lighter.auto = mode
            less = msgspec.structs.replace(shape, val=min(shape.val, MODES[mode][1]))
            need = lighter.estimate(less).high + 2 * less.held * less.calls_per_run
            if budget.calls is None or need <= budget.calls:
                break
        return lighter

    def _with_fewer(self, shape: Shape, budget: Budget) -> "MIPROv2 | None":
        whole, trials = self.num_candidates or 0, shape.arguments["num_trials"]
        for count in range(whole, min(whole, 2) - 1, -1):
            smaller = copy.copy(self)
            smaller.num_candidates, smaller._most_trials = count, math.ceil(trials * count / whole)
            need = smaller.estimate(shape).high + shape.evidence_calls
            if budget.calls is not None and need <= budget.calls:
                return smaller
        return None

    async def run(self, ctx: Any) -> Candidate:
        """Demonstrations and all that proposals rest on side by side, then the proposals, then the search."""
        plan = self.plan(ctx.arguments, len(ctx.predictors), len(ctx.val))
        async with ctx.phase("demonstrations and data"):
            sets, grounds = await ctx.gather(demo_sets(ctx, self, plan), self.grounds(ctx, plan))
        async with ctx.phase("proposals", total=len(ctx.predictors) * (plan.instructions - 1)):
            texts = await instructions(
                ctx,
                grounds,
                sets if ctx.arguments["fewshot_aware_proposer"] else [],
                plan.instructions,
                temperature=self.init_temperature,
                has_tips=ctx.arguments["tip_aware_proposer"],
            )
        chosen = {} if plan.is_zero_shot else {path: [one.predictors[path].demos for one in sets] for path in texts}
        space = space_of(ctx.student, texts, chosen)
        async with ctx.phase("search", total=plan.runs(len(ctx.val))):
            search = Search(ctx, space, self.schedule(plan))
            return await search.best()

    async def grounds(self, ctx: Any, plan: Plan) -> Grounds:
        """What is asked before the proposals; nothing where there will be none."""
        if plan.instructions == 1:
            return Grounds()
        arguments = ctx.arguments
        data, (program, purposes) = await ctx.gather(
            data_summary(ctx, arguments["view_data_batch_size"], self.summary)
            if arguments["data_aware_proposer"]
            else nothing(None),
            described(ctx) if arguments["program_aware_proposer"] else nothing((None, {})),
        )
        return Grounds(data, program, purposes)

    def schedule(self, plan: Plan) -> Schedule:
        """How the space is searched."""
        z = RACE_Z if self.race is True else self.race or None
        return Schedule(plan.trials, plan.batch, plan.every, z, is_logged=self.track_stats, is_verbose=self.verbose)


async def nothing(value: Any) -> Any:
    """A branch that asks for nothing."""
    return value
