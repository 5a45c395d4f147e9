"""Whether a gain is real: a comparison on examples that the search has not seen, and what is claimed."""

import asyncio
from collections.abc import Iterator, Sequence

import msgspec

from dspex.core.candidate import Candidate
from dspex.core.evidence import Arm, Comparison, Corrected, Evidence, Keep
from dspex.core.example import Example
from dspex.core.versions import kernel_version, version_of
from dspex.engine.context import Context
from dspex.engine.pool import Entry
from dspex.engine.scheduler import Stop
from dspex.engine.spend import UNLIMITED, Spend
from dspex.evaluate.statistics import max_t, out_of_bag, verdict

UNTOUCHED_LEAST = 30
ONE_SIDED = 0.025
NOTHING_RUN = (
    "the budget does not cover what one run may take at most, so none was begun; a smaller max_tokens makes it less"
)
NONE_WHOLE = "the budget was used up before any other program had been run on the whole valset"

Claim = tuple[Comparison, float, float]  # with the baseline's and the winner's mean score


async def weighed(
    context: Context, winner: Candidate, held: Sequence[Example], *, stopped: str, keep: Keep, limit: Spend,
    notes: list[str], arms: Sequence[Arm] = (), by_score: bool = True,
) -> Evidence:  # fmt: skip
    """The evidence for a winner; `limit` is the whole budget, of which the looks at fresh examples take what is left.

    One that was not chosen `by_score` alone need not score more than the student, only not less.
    """
    setup, spent = context.setup, sum(context.steps.spent.values(), Spend())
    left = limit - spent
    # In a thread: on a thousand examples the signs alone take seconds, which other jobs on this loop need not wait.
    claim, corrected = await asyncio.to_thread(_selected, context, winner)
    notes = [*notes, *context.steps.told(), *(str(arm) for arm in arms), *_failures(context, winner)]
    if winner.key == context.student.key:
        notes = [*notes, "the search found nothing better than the program it was given"]
        if stopped == "budget" and not _others_whole(context):
            notes += [NONE_WHOLE if spent.calls else NOTHING_RUN]
    elif stopped != "cancelled" and setup.metric is not None:
        examples, basis = (held, "held") if held else (_untouched(context, left), "untouched")
        if examples:
            context.reopen(left, held)
            claim = await _compared(context, winner, examples, basis) or claim
    comparison, old, new = claim or (None, None, None)
    verdict_, basis = (comparison.verdict, comparison.basis) if comparison else ("not shown", "none")
    gain = corrected.gain if corrected else None
    is_more = not by_score or gain is None or gain > 0
    is_shown = verdict_ == "better"  # on fresh examples also where the estimate, which errs low, sees no gain
    returned = {"estimate": is_shown or (verdict_ != "worse" and is_more), "better": is_shown, "best": True}
    is_kept = returned[keep] and winner.key != context.student.key
    usage = {
        role: {"calls": spend.calls, "tokens": spend.tokens, "usd": spend.usd}
        for role, spend in context.steps.spent.items()
    }
    return Evidence(
        verdict_, basis, is_kept, stopped, comparison.n if comparison else 0, old, new, comparison, corrected,
        len(context.steps.pool), type(setup.optimizer).__name__, setup.seed, dict(sorted(usage.items())), tuple(notes),
        tuple(arms), versions_of(type(setup.optimizer)), _costs(context, winner),
    )  # fmt: skip


def _failures(context: Context, winner: Candidate) -> Iterator[str]:
    """Which runs of student and winner failed, and as what: their zeros may say nothing about a program."""
    named = {winner.key: (winner, "the program found"), context.student.key: (context.student, "the program given")}
    for one, name in reversed(named.values()):
        ran, errors = context.steps.pool.failed(one, context.val_keys)
        if errors:
            often = max(sorted(set(errors)), key=errors.count)
            yield f"{len(errors)} of {ran} runs of {name} failed, {errors.count(often)} of them as {often:.200}"


def _others_whole(context: Context) -> bool:
    """Whether any program but the student was run on all validation examples."""
    student, ranked = context.student.key, context.steps.pool.ranked(context.val_keys)
    return any(entry.is_complete for entry in ranked if entry.candidate.key != student)


def _costs(context: Context, winner: Candidate) -> dict[str, tuple[float, float]]:
    """Mean tokens, and dollars where prices are known, of a run on the validation examples, before and after."""
    keys = context.val_keys
    old, new = (context.steps.pool.entry(Entry(one, "", ()), keys) for one in (context.student, winner))
    if not (old.is_complete and new.is_complete):
        return {}
    usd = {} if old.usd is None or new.usd is None else {"usd": (old.usd, new.usd)}
    return {"tokens": (old.tokens, new.tokens), **usd}


def versions_of(optimizer: type) -> dict[str, str]:
    """Of dspex and of the package that an optimizer is from, where one of its name is installed."""
    from importlib.metadata import PackageNotFoundError

    package = optimizer.__module__.partition(".")[0].replace("_", "-")
    try:
        return {"dspex": kernel_version(), package: version_of(package)}
    except PackageNotFoundError:
        return {"dspex": kernel_version()}


def _untouched(context: Context, left: Spend) -> tuple[Example, ...]:
    """Training examples that no step saw, if there are enough, and a budget of calls covers a look at them."""
    rest = {key: one for one in context.train if (key := context.key_of(one)) not in context.steps.touched}
    covered = left.calls < UNLIMITED // 2 and left.calls >= 4 * len(rest) * context.setup.shape.calls_per_run
    return tuple(rest.values()) if len(rest) >= UNTOUCHED_LEAST and covered else ()


async def _compared(context: Context, winner: Candidate, examples: Sequence[Example], basis: str) -> Claim | None:
    """Student and winner on examples that chose neither; None if the budget did not reach."""
    try:
        pairs = [(context.student, examples), (winner, examples)]
        async with context.phase("evidence", total=2 * len(examples)):
            old, new = await context.evaluate_all(pairs, role="evidence")
    except Stop:
        return None
    found = await asyncio.to_thread(verdict, old.values, new.values, context.derived("bootstrap"), basis=basis)
    return found, old.mean, new.mean


def _selected(context: Context, winner: Candidate) -> tuple[Claim | None, Corrected | None]:
    """The comparison on the examples of the choice, corrected for it; None where student or winner was not run on all."""
    keys = context.val_keys
    base, best = (context.steps.pool.scored(one, keys) for one in (context.student, winner))
    ranked = [entry for entry in context.steps.pool.ranked(keys) if entry.candidate.key != context.student.key]
    rows = [entry.scores for entry in ranked if 2 * entry.n >= len(keys)]
    complete = [row for row in rows if None not in row]
    if None in base or best not in complete or len(keys) < 2:
        return None, None
    old, new = ([score or 0.0 for score in row] for row in (base, best))
    gains = [[(one or 0.0) - before for one, before in zip(row, old, strict=True)] for row in complete]
    p = max_t(gains, context.derived("max-T"), complete.index(best))
    plain = verdict(old, new, context.derived("bootstrap"), basis="selection, max-T")
    shown = p <= ONE_SIDED and plain.delta > 0
    claim = msgspec.structs.replace(plain, p=p, p_exact=None, test="max-T", verdict="better" if shown else "not shown")
    return (claim, sum(old) / len(keys), sum(new) / len(keys)), out_of_bag([base, *rows], context.derived("out of bag"))
