"""Which of the candidates a compile returns: by score, by score and price, or by a function of the user's."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from dspex.core.candidate import Candidate
from dspex.core.errors import ConfigurationError
from dspex.engine.pool import Entry, Pool
from dspex.evaluate.statistics import paired_interval

Draws = Callable[..., Any]
Objective = Literal["score", "pareto"] | Callable[[float, float, float], float]


class Choosing(Protocol):
    """What a choice needs of its context."""

    student: Candidate

    @property
    def val_keys(self) -> Sequence[str]:
        """The identities of the validation examples."""

    @property
    def draws(self) -> Draws:
        """Streams of draws, by labels."""


def check_objective(objective: Any, most: Any) -> None:
    """Raises ConfigurationError for what is no objective, or no price."""
    if objective not in ("score", "pareto") and not callable(objective):
        raise ConfigurationError(
            f'objective={objective!r:.80}: "score", "pareto" or a function of score, dollars and seconds.'
        )
    if most is not None and (isinstance(most, bool) or not isinstance(most, int | float) or most <= 0):
        raise ConfigurationError(f"max_usd_per_call={most!r:.80}: dollars that a run of the program may cost, above 0.")


def complete(context: Choosing, pool: Pool) -> list[Entry]:
    """The candidates, and the student, that were run on all validation examples, best first."""
    entries = pool.ranked(context.val_keys)
    if all(entry.candidate.key != context.student.key for entry in entries):
        entries.append(pool.entry(Entry(context.student, "student", ()), context.val_keys))
    return [entry for entry in entries if entry.is_complete]


def frontier(draws: Draws, entries: Sequence[Entry]) -> list[Entry]:
    """Of these, by price, each that scores more than all that are cheaper; what the paired interval leaves open is no more.

    The price is dollars a run, or tokens where a price is not known.
    """
    has_prices = all(entry.usd is not None for entry in entries)

    def price(entry: Entry) -> float:
        return entry.usd or 0.0 if has_prices else entry.tokens

    kept: list[Entry] = []
    for entry in sorted(entries, key=lambda one: (price(one), -one.mean, one.place)):
        if all(_is_more(draws, entry, cheaper) for cheaper in kept):
            kept.append(entry)
    return kept


def _is_more(draws: Draws, entry: Entry, other: Entry) -> bool:
    if entry.mean <= other.mean:
        return False
    old, new = ([score or 0.0 for score in one.scores] for one in (other, entry))
    rng = draws("frontier", other.candidate.key, entry.candidate.key)
    return paired_interval(old, new, rng)[0] > 0


def chosen(context: Choosing, pool: Pool, objective: Objective, most: float | None) -> tuple[Candidate | None, str]:
    """The candidate to return, None for what the algorithm itself has found; and what is to be said of it."""
    if objective == "score" and most is None:
        return None, ""
    entries = complete(context, pool)
    if not entries:
        return None, "no program was scored on the whole valset, so none could be chosen by its price"
    fitting = [entry for entry in entries if most is None or (entry.usd or 0.0) <= most]
    if not fitting:
        return context.student, f"no program costs {most:g} USD a run or less; the cheapest: {_cheapest(entries):.3g}"
    if callable(objective):
        values = [_valued(objective, entry) for entry in fitting]
        best = max(range(len(fitting)), key=lambda place: (values[place], -place))
        return fitting[best].candidate, f"chosen by objective, of {len(fitting)} programs"
    front = frontier(context.draws, fitting) if objective == "pareto" else fitting
    best_entry = max(front, key=lambda entry: entry.mean) if objective == "pareto" else front[0]
    said = f"chosen by score and price, of {len(front)} programs of which none is as good and cheaper"
    return (
        best_entry.candidate,
        said if objective == "pareto" else f"chosen of {len(fitting)} programs within the price",
    )


def _cheapest(entries: Sequence[Entry]) -> float:
    return min(entry.usd or 0.0 for entry in entries)


def _valued(objective: Callable[[float, float, float], float], entry: Entry) -> float:
    try:
        return float(objective(entry.mean, entry.usd or 0.0, entry.seconds))
    except Exception as error:  # it is the user's
        raise ConfigurationError(
            f"objective(score={entry.mean:g}, usd={entry.usd or 0.0:g}, seconds=...) raised {type(error).__name__}: {error}"
        ) from error
