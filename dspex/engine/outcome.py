"""What a run does before anything is claimed: a warm start, the algorithm, and the best so far where that was stopped."""

from collections.abc import Sequence
from contextlib import suppress

from dspex.core.candidate import Candidate
from dspex.core.errors import EvaluationError, JournalError
from dspex.core.warn import warn
from dspex.engine.artifact import extracted
from dspex.engine.context import Context
from dspex.engine.pool import Entry
from dspex.engine.scheduler import Stop
from dspex.engine.setup import Setup
from dspex.runtime.journal import Journal
from dspex.runtime.records import End, Stopped


async def searched(context: Context, journal: Journal) -> tuple[Candidate, str]:
    """What the algorithm found, or the best so far where it was stopped, and why it ended."""
    setup = context.setup
    try:
        warm = await _warmed(context)
        winner = _better(context, warm, await context.winner())
        if isinstance(failure := context.steps.scheduler.stopped, Exception):
            raise failure  # it came with the last step, so that no other was refused
        return winner, "done"
    except Stop as stop:
        await context.steps.scheduler.drained()
        return (_best(context) or context.student), stop.reason
    except Exception as error:
        best = _best(context)
        if isinstance(error, EvaluationError):
            error.best = setup.programs.fresh(best) if best else None
        error.add_note(f"Run folder: {journal.folder}. The same call with this run_dir repeats no finished call.")
        with suppress(JournalError):
            journal.append(Stopped("error", f"{type(error).__name__}: {error}"[:1_000]))
        raise


async def _warmed(context: Context) -> list[Candidate]:
    """The programs of a warm start, in the pool and scored."""
    known = [context.consider(extracted(one), label) for label, one in context.setup.warm.programs]
    if known and context.setup.metric is not None:
        async with context.phase("warm start", total=len(known) * len(context.val)):
            await context.evaluate_all([(one, context.val) for one in known])
    return known


def _best(context: Context) -> Candidate | None:
    entry = context.steps.pool.best(context.val_keys)
    return entry.candidate if entry else None


def _better(context: Context, warm: Sequence[Candidate], winner: Candidate) -> Candidate:
    """The winner, or the program of a warm start that has scored more on the same examples."""
    entries = [context.steps.pool.entry(Entry(one, "", ()), context.val_keys) for one in (winner, *warm)]
    if context.setup.metric is None or not entries[0].is_complete:
        return winner
    return max(entries, key=lambda entry: entry.mean).candidate  # the first of equals


def tell_of_another_end(journal: Journal, setup: Setup, kept: Candidate, why: str) -> None:
    """Say so if a run that had ended before ends otherwise now, which nothing but its algorithm can be the cause of."""
    whys = [record.why for record in journal.records if isinstance(record, Stopped)]
    ends = [record.winner for record in journal.records if isinstance(record, End)]
    if ends and whys[-1] == why == "done" and ends[-1] != kept.key:
        name = type(setup.optimizer).__name__
        warn(
            f"{name} is not deterministic: its run in {journal.folder} gave another program before. This is the new one."
        )
