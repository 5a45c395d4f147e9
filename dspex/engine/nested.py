"""An optimizer inside another: its failure is an error of its own, and the same one again when the run is replayed."""

from typing import Any, Protocol

from dspex.core.candidate import Candidate
from dspex.core.errors import CassetteError, EvaluationError, JournalError
from dspex.engine.steps import Steps, key


class Inner(Protocol):
    """What a nested compile has of its context."""

    path: tuple[str, ...]
    steps: Steps

    async def winner(self) -> Candidate:
        """What its algorithm gives."""


async def fenced(context: Inner, optimizer: Any) -> Candidate:
    """What the optimizer makes. Raises EvaluationError for what ends it; other steps of the run may go on then."""
    steps, step = context.steps, key("compile", *context.path)
    before = steps.failure_of(step)
    if before is not None:
        # What it did before it failed is done again, from the journal alone.
        steps.scheduler.stop(EvaluationError(before))
    try:
        made = await context.winner()
        if isinstance(failure := steps.scheduler.stopped, Exception):
            raise failure  # it came with the last step, so that no other was refused
    except (CassetteError, JournalError):
        raise
    except Exception as error:  # an optimizer is a plugin
        if steps.is_out:
            raise
        text = before or f"{type(error).__name__}: {error}"[:1_000].encode(errors="replace").decode()
        await steps.fenced(step, text)
        raise EvaluationError(f"{type(optimizer).__name__} inside {'/'.join(context.path)}: {text}") from error
    return made
