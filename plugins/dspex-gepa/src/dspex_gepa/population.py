"""The candidates of a run with their scores, and what is told of them when it has ended."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from dspex import Candidate, Module, Prediction, Scores
from dspex_gepa.budget import Meter
from dspex_gepa.frontier import best_of, fronts_of


class Member(msgspec.Struct, frozen=True):
    """A candidate that was scored on the whole valset; `found_at` is the number of metric calls before that."""

    candidate: Candidate
    scores: tuple[float, ...]
    outputs: tuple[dict[str, Any], ...]
    parents: tuple[int, ...]
    found_at: int

    @property
    def mean(self) -> float:
        """Its score."""
        return sum(self.scores) / len(self.scores)

    @property
    def texts(self) -> dict[str, str]:
        """Its instructions by predictor."""
        return {path: state.instructions for path, state in self.candidate.predictors.items()}


class Population:
    """All members in the order in which they were found, the student first; a candidate is known by its number."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.members: list[Member] = []
        self.turns: list[int] = []  # the component that is next for each, where they take turns

    def add(self, candidate: Candidate, scores: Scores, parents: Sequence[int], found_at: int) -> None:
        """Enter a candidate with its scores on the valset."""
        outputs = tuple(row.outputs for row in scores)
        self.members.append(Member(candidate, tuple(scores.values), outputs, tuple(parents), found_at))
        self.turns.append(max((self.turns[parent] for parent in parents), default=0))

    def __getitem__(self, number: int) -> Member:
        return self.members[number]

    @property
    def means(self) -> list[float]:
        """Their scores."""
        return [member.mean for member in self.members]

    @property
    def fronts(self) -> list[tuple[int, ...]]:
        """For each validation example those that are best on it."""
        return fronts_of([member.scores for member in self.members])

    @property
    def keys(self) -> set[str]:
        """Identities of all; for membership only, as sets have no order."""
        return {member.candidate.key for member in self.members}

    @property
    def best(self) -> int:
        """The highest score, the first of equals."""
        return best_of(self.means)


class SearchState(msgspec.Struct, frozen=True):
    """What a component selector is told of the search, under the names that gepa has for it."""

    i: int
    program_candidates: list[dict[str, str]]
    parent_program_for_candidate: list[list[int | None]]
    prog_candidate_val_subscores: list[dict[int, float]]
    program_full_scores_val_set: list[float]
    pareto_front_valset: dict[int, float]
    program_at_pareto_front_valset: dict[int, set[int]]
    list_of_named_predictors: list[str]
    named_predictor_id_to_update_next_for_program_candidate: list[int]
    num_metric_calls_by_discovery: list[int]
    total_num_evals: int
    num_full_ds_evals: int


def state_of(population: Population, iteration: int) -> SearchState:
    """The state of the search."""
    told = GEPAResult(population, lambda candidate: candidate)
    return SearchState(
        i=iteration,
        program_candidates=[member.texts for member in population.members],
        parent_program_for_candidate=told.parents,
        prog_candidate_val_subscores=told.val_subscores,
        program_full_scores_val_set=population.means,
        pareto_front_valset=told.highest_score_achieved_per_val_task,
        program_at_pareto_front_valset=told.per_val_instance_best_candidates,
        list_of_named_predictors=list(population[0].texts),
        named_predictor_id_to_update_next_for_program_candidate=list(population.turns),
        num_metric_calls_by_discovery=told.discovery_eval_counts,
        total_num_evals=population.meter.used,
        num_full_ds_evals=len(population.members),
    )


class GEPAResult:
    """All candidates of a run under DSPy's names; validation examples go by their place in the valset.

    No list of programs: a program that holds this must not count the programs in it as its own parts.
    """

    # One metric, one score: there are no objectives to tell apart.
    val_aggregate_subscores = per_objective_best_candidates = objective_pareto_front = None

    def __init__(
        self, population: Population, made: Callable[[Candidate], Any], *, has_outputs: bool = False, seed: int = 0,
        log_dir: str | None = None,
    ) -> None:  # fmt: skip
        self._population = population
        self._made = made
        self._has_outputs = has_outputs
        self.seed = seed
        self.log_dir = log_dir

    def __deepcopy__(self, _memo: object) -> "GEPAResult":
        return self

    @cached_property
    def candidates(self) -> list[Module]:
        """A program of each."""
        return [self._made(member.candidate) for member in self._population.members]

    @property
    def parents(self) -> list[list[int | None]]:
        """The numbers of those that it was made from; None for the student."""
        return [list(member.parents) or [None] for member in self._population.members]

    @property
    def val_aggregate_scores(self) -> list[float]:
        """Mean scores on the valset."""
        return self._population.means

    @property
    def val_subscores(self) -> list[dict[int, float]]:
        """The scores by validation example."""
        return [dict(enumerate(member.scores)) for member in self._population.members]

    @property
    def per_val_instance_best_candidates(self) -> dict[int, set[int]]:
        """For each validation example those that are best on it."""
        return {place: set(front) for place, front in enumerate(self._population.fronts)}

    @property
    def highest_score_achieved_per_val_task(self) -> dict[int, float]:
        """For each validation example the highest score."""
        rows = [member.scores for member in self._population.members]
        return {place: max(column) for place, column in enumerate(zip(*rows, strict=True))}

    @property
    def discovery_eval_counts(self) -> list[int]:
        """Metric calls before each was scored on the valset."""
        return [member.found_at for member in self._population.members]

    @property
    def total_metric_calls(self) -> int:
        """Metric calls of the whole run."""
        return self._population.meter.used

    @property
    def num_full_val_evals(self) -> int:
        """How many candidates were scored on the valset."""
        return len(self._population.members)

    @property
    def best_outputs_valset(self) -> dict[int, list[tuple[int, Prediction]]] | None:
        """For each validation example the outputs of those that are best on it, with `track_best_outputs`."""
        if not self._has_outputs:
            return None
        members = self._population.members
        return {
            place: [(one, Prediction(members[one].outputs[place])) for one in front]
            for place, front in enumerate(self._population.fronts)
        }

    @property
    def best_idx(self) -> int:
        """The number of the one with the highest mean, the first of equals."""
        return self._population.best

    @property
    def best_candidate(self) -> Module:
        """Its program; the compile returns another one, the student, where no gain is left of its score."""
        return self.candidates[self.best_idx]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON data, programs by their instructions."""
        outputs = self.best_outputs_valset
        told: Mapping[str, Any] = {
            "candidates": [member.texts for member in self._population.members],
            "best_outputs_valset": outputs
            and {place: [[one, made.toDict()] for one, made in found] for place, found in outputs.items()},
            "per_val_instance_best_candidates": {
                place: list(front) for place, front in enumerate(self._population.fronts)
            },
            **{name: getattr(self, name) for name in PLAIN},
        }
        return {name: told[name] for name in sorted(told)}


PLAIN = (
    "parents", "val_aggregate_scores", "val_subscores", "val_aggregate_subscores", "per_objective_best_candidates",
    "objective_pareto_front", "discovery_eval_counts", "total_metric_calls", "num_full_val_evals", "log_dir", "seed", "best_idx",
)  # fmt: skip
