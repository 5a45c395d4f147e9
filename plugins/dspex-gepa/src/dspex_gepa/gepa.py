"""GEPA: instructions rewritten by a model that reads how runs went, and a frontier of candidates that are best somewhere."""

import copy
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from dspex import LM, Budget, Candidate, ConfigurationError, Estimate, Example, Job, Module, Optimizer, Shape
from dspex_gepa.budget import CANDIDATES, FULL_EVERY, MINIBATCH, Meter, auto_calls, checked, estimated
from dspex_gepa.population import GEPAResult, Population
from dspex_gepa.records import Critic
from dspex_gepa.reflection import Writer
from dspex_gepa.search import Rules, Search

AS_IT_IS = {"batch_sampler": "epoch_shuffled", "val_evaluation_policy": "full_eval", "frontier_type": "instance"}


class MetricForm(ConfigurationError, TypeError):
    """A metric that cannot be asked about one predictor."""


class GEPA(Optimizer):
    """Rewrites predictors' instructions by reflection on runs and on what the metric says of them (2507.19457).

    `metric(gold, pred, trace, pred_name, pred_trace)` gives a number, or a Prediction or dictionary of `score` and `feedback`; it is
    asked with the last two to comment on one predictor's call. Exactly one of `auto`, `max_full_evals` and `max_metric_calls` is
    the most scorings of runs, and a wall. New texts come from `reflection_lm`, or from `instruction_proposer(candidate,
    reflective_dataset, components_to_update)`, a dictionary of texts. `component_selector` is "round_robin", "all" or a function
    of (state, trajectories, subsample_scores, candidate_idx, candidate) that gives names of predictors. `proposals` of a
    round go on side by side. With `track_stats` the program has `detailed_results`. `log_dir` is the `run_dir`, and goes on.

    Raises TypeError for a metric with fewer arguments, ConfigurationError for what has no meaning here.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        auto: Literal["light", "medium", "heavy"] | None = None,
        max_full_evals: int | None = None,
        max_metric_calls: int | None = None,
        reflection_minibatch_size: int = 3,
        candidate_selection_strategy: Literal["pareto", "current_best"] = "pareto",
        reflection_lm: LM | None = None,
        skip_perfect_score: bool = True,
        add_format_failure_as_feedback: bool = False,
        instruction_proposer: Callable[..., Any] | None = None,
        code_proposer: None = None,
        component_selector: Callable[..., Any] | str = "round_robin",
        use_merge: bool = True,
        max_merge_invocations: int | None = 5,
        num_threads: int | None = None,
        failure_score: float = 0.0,
        perfect_score: float = 1.0,
        log_dir: str | None = None,
        track_stats: bool = False,
        use_wandb: bool = False,
        wandb_api_key: str | None = None,
        wandb_init_kwargs: Mapping[str, Any] | None = None,
        track_best_outputs: bool = False,
        warn_on_score_mismatch: bool = True,
        use_mlflow: bool = False,
        seed: int | None = 0,
        gepa_kwargs: Mapping[str, Any] | None = None,
        proposals: int = 1,
    ) -> None:
        _check_metric(metric)
        _check_budget(auto=auto, max_full_evals=max_full_evals, max_metric_calls=max_metric_calls)
        _check_models(reflection_lm, instruction_proposer)
        _check_choices(candidate_selection_strategy, component_selector)
        _check_numbers(
            1, reflection_minibatch_size=reflection_minibatch_size, proposals=proposals, num_threads=num_threads
        )
        _check_numbers(0, max_merge_invocations=max_merge_invocations)
        _check_absent(code_proposer, use_wandb or wandb_api_key or wandb_init_kwargs, use_mlflow, gepa_kwargs or {})
        if not isinstance(perfect_score, int | float | None):
            raise ConfigurationError(f"perfect_score={perfect_score!r:.80}: a number.")
        if track_best_outputs and not track_stats:
            raise ConfigurationError("track_best_outputs=True is told in detailed_results: it needs track_stats=True.")
        if skip_perfect_score and perfect_score is None:
            raise ConfigurationError("skip_perfect_score=True needs a perfect_score; or pass skip_perfect_score=False.")
        self.metric = metric
        self.auto = auto
        self.max_full_evals = max_full_evals
        self.max_metric_calls = max_metric_calls
        self.reflection_minibatch_size = reflection_minibatch_size
        self.candidate_selection_strategy = candidate_selection_strategy
        self.reflection_lm = reflection_lm
        self.skip_perfect_score = skip_perfect_score
        self.add_format_failure_as_feedback = add_format_failure_as_feedback
        self.instruction_proposer = instruction_proposer
        self.component_selector = component_selector
        self.use_merge = use_merge
        self.max_merge_invocations = max_merge_invocations
        self.num_threads = num_threads
        self.failure_score = failure_score
        self.perfect_score = perfect_score
        self.log_dir = log_dir
        self.track_stats = track_stats
        self.track_best_outputs = track_best_outputs
        self.warn_on_score_mismatch = warn_on_score_mismatch
        self.seed = seed or 0
        self.proposals = proposals

    def auto_budget(
        self,
        num_preds: int,
        num_candidates: int,
        valset_size: int,
        minibatch_size: int = MINIBATCH,
        full_eval_steps: int = FULL_EVERY,
    ) -> int:
        """Metric calls of `auto`, whose modes have 6, 12 and 18 candidates."""
        _check_numbers(0, num_preds=num_preds, valset_size=valset_size, minibatch_size=minibatch_size)
        _check_numbers(1, num_candidates=num_candidates, full_eval_steps=full_eval_steps)
        return auto_calls(num_preds, num_candidates, valset_size, minibatch_size, full_eval_steps)

    def start(
        self, student: Module, *, trainset: Sequence[Example], teacher: Module | None = None, **options: Any
    ) -> Job:
        """Begin to compile, and return at once. Raises ConfigurationError for a teacher: there is no use for one."""
        if teacher is not None:
            raise ConfigurationError("GEPA has no use for a teacher; the model that writes the texts is reflection_lm.")
        return super().start(student, trainset=trainset, **{"seed": self.seed, "run_dir": self.log_dir, **options})

    def estimate(self, shape: Shape) -> Estimate:
        """Every metric call is a run of the program, and a reflection a question for each of its components."""
        limit = self._limit(shape.predictors, shape.train, shape.val)
        asked = 0 if self.reflection_lm is None else 1 if self.component_selector == "round_robin" else shape.predictors
        return estimated(limit, shape, self.reflection_minibatch_size, asked)

    def fit(self, shape: Shape, budget: Budget) -> "GEPA | None":
        """The same with as many metric calls as a budget of calls covers."""
        if budget.calls is None:
            return None
        calls = budget.calls - shape.evidence_calls
        if self.estimate(shape).high <= calls:
            return self
        smaller = copy.copy(self)
        smaller.auto = smaller.max_full_evals = None
        for limit in range(calls // shape.calls_per_run, shape.val - 1, -1):
            smaller.max_metric_calls = limit
            if smaller.estimate(shape).high <= calls:
                return smaller
        return None

    async def run(self, ctx: Any) -> Candidate:
        """The search."""
        same = {ctx.key_of(one) for one in ctx.train} == {ctx.key_of(one) for one in ctx.val}
        predictors = ctx.student.predictors
        meter = Meter(self._limit(len(predictors), len(ctx.train), len(ctx.val), is_same=same))
        population = Population(meter)
        if self.track_stats:
            found = GEPAResult(
                population, ctx.program, has_outputs=self.track_best_outputs, seed=self.seed, log_dir=self.log_dir
            )
            ctx.attach(detailed_results=found)
        critic = Critic(
            ctx,
            self.metric,
            shows_broken=self.add_format_failure_as_feedback,
            tells_mismatch=self.warn_on_score_mismatch,
        )
        writer = Writer(ctx, self.instruction_proposer, self.reflection_lm, critic.runs(ctx.student).predictors)
        best = await Search(ctx, self._rules(), population, critic, writer).run()
        if writer.failures:
            ctx.note(f"{len(writer.failures)} new texts could not be had; the first: {writer.failures[0]:.200}")
        return best

    def _rules(self) -> Rules:
        most = sys.maxsize if self.max_merge_invocations is None else self.max_merge_invocations
        return Rules(
            size=self.reflection_minibatch_size,
            proposals=self.proposals,
            strategy=self.candidate_selection_strategy,
            components=self.component_selector,
            enough=self.perfect_score if self.skip_perfect_score else None,
            merges=most if self.use_merge else 0,
        )

    def _limit(self, predictors: int, train: int, val: int, *, is_same: bool = False) -> int:
        """Metric calls; with `is_same` a full evaluation is one of the trainset alone, as in DSPy without a valset."""
        if self.auto is not None:
            return auto_calls(predictors, CANDIDATES[self.auto], val)
        if self.max_full_evals is not None:
            return checked(self.max_full_evals * (train + (0 if is_same else val)), val)
        assert self.max_metric_calls is not None
        return checked(self.max_metric_calls, val)


def _check_metric(metric: Any) -> None:
    try:
        inspect.signature(getattr(metric, "aforward", None) or getattr(metric, "forward", None) or metric).bind(
            *[None] * 5
        )
    except TypeError as error:
        raise MetricForm(
            f"metric={metric!r:.80}: GEPA asks for feedback by metric(gold, pred, trace, pred_name, pred_trace), so it takes five "
            "arguments; let the last three be None by default."
        ) from error


def _check_budget(**given: Any) -> None:
    asked = {name: value for name, value in given.items() if value is not None}
    if len(asked) != 1:
        said = ", ".join(f"{name}={value!r}" for name, value in asked.items()) or "none"
        raise ConfigurationError(f"GEPA takes exactly one of auto, max_full_evals and max_metric_calls; given: {said}.")
    [(name, value)] = asked.items()
    if name != "auto":
        _check_numbers(1, **asked)
    elif value not in CANDIDATES:
        raise ConfigurationError(f"auto={value!r}: one of {', '.join(CANDIDATES)}.")


def _check_models(reflection_lm: Any, instruction_proposer: Any) -> None:
    if reflection_lm is None and instruction_proposer is None:
        raise ConfigurationError(
            "GEPA needs a reflection_lm that writes new instructions (a strong model, dspex.LM('provider/model')), or an "
            "instruction_proposer."
        )
    if reflection_lm is not None and not isinstance(reflection_lm, LM):
        raise ConfigurationError(f"reflection_lm={reflection_lm!r:.80}: a dspex.LM, or a subclass of dspex.BaseLM.")
    if instruction_proposer is not None and not callable(instruction_proposer):
        raise ConfigurationError(
            f"instruction_proposer={instruction_proposer!r:.80}: a function of (candidate, reflective_dataset, "
            "components_to_update)."
        )


def _check_choices(strategy: Any, selector: Any) -> None:
    if strategy not in ("pareto", "current_best"):
        raise ConfigurationError(f'candidate_selection_strategy={strategy!r:.80}: "pareto" or "current_best".')
    if not callable(selector) and selector not in ("round_robin", "all"):
        raise ConfigurationError(
            f'component_selector={selector!r:.80}: "round_robin", "all", or a function of (state, trajectories, '
            "subsample_scores, candidate_idx, candidate)."
        )


def _check_numbers(least: int, **given: Any) -> None:
    for name, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ConfigurationError(f"{name}={value!r}: a whole number from {least} on.")


def _check_absent(code_proposer: Any, wandb: Any, mlflow: Any, gepa_kwargs: Mapping[str, Any]) -> None:
    """What DSPy's GEPA has and this one has not."""
    if code_proposer is not None:
        raise ConfigurationError("code_proposer is for programs that have a model write their code; dspex has none.")
    if wandb or mlflow:
        raise ConfigurationError(
            "use_wandb and use_mlflow: GEPA writes to no tracker itself. What a run does is in its events: read job.events(), or "
            "install a subscriber."
        )
    for name, value in gepa_kwargs.items():
        if value != AS_IT_IS.get(name, None if name != "use_cloudpickle" else value):
            raise ConfigurationError(
                f"gepa_kwargs={{{name!r}: {value!r:.60}}}: the search is dspex's own, and has proposals= for several at once, "
                "budget= and job.cancel() for its end."
            )
