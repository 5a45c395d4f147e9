"""Prompts that grow with each step, kept to a length: older steps are summed up, and again where the model says too long."""

import inspect
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from dspex.core.errors import AdapterParseError, ContextWindowExceeded, LMError
from dspex.program.agent_journal import Forgetful, Memory
from dspex.program.predict import Predict
from dspex.program.signature import Signature, make_signature
from dspex.program.trajectory import Trajectory, listed, short
from dspex.runtime.scope import use
from dspex.runtime.worker_threads import in_thread

MAX_SHORTENED = 3  # times that one question is asked again with a shorter trajectory
NOTE = 1_000  # characters of what is said of a reply that cannot be read
TRAJECTORY = 60_000  # characters, some 15,000 tokens

_SUMMARY = (
    "These are steps of an agent that works on a task. Sum up what they found, for the agent itself, which will not see "
    "them again: facts with names and numbers, what failed and why, what is still open. Keep to `max_characters`."
)
Summarise = Callable[[str, int], str | Awaitable[str]]


class Fitting:
    """A trajectory that fits: its older half is summed up by `summarise`, or without one by `lm` (None: that of the settings).

    `task` is what the steps were for, in words; a summary that `memory` holds is not made again.
    """

    def __init__(
        self, trajectory: Trajectory, task: str, lm: Any, summarise: Summarise | None, memory: Memory | None = None
    ) -> None:
        self.trajectory = trajectory
        self._task = task
        self._lm = lm
        self._summarise = summarise
        self._memory = memory or Forgetful()
        self._summaries = 0

    async def shorten(self) -> None:
        """Sum up what is beyond the limit."""
        if self.trajectory.is_long:
            await self.trajectory.shorten(self.trajectory.limit, self._kept_summary)

    async def ask(self, ask: Callable[[Trajectory], Awaitable[Any]]) -> Any:
        """Ask, with a shorter trajectory where the model says that it is too long."""
        for _ in range(MAX_SHORTENED):
            try:
                return await ask(self.trajectory)
            except ContextWindowExceeded:
                if not await self.trajectory.shorten(len(self.trajectory.text) // 2, self._summary):
                    raise
        return await ask(self.trajectory)

    async def _kept_summary(self, text: str, most: int) -> str:
        key = f"summary/{self._summaries}"
        self._summaries += 1
        summary = self._memory.found(key, str)
        if summary is None:
            summary = await self._summary(text, most)
            self._memory.keep(key, summary)
        return summary

    async def _summary(self, text: str, most: int) -> str:
        """A text of at most so many characters in place of older steps."""
        own = self._summarise
        if own is not None:
            made = own(text, most) if inspect.iscoroutinefunction(own) else await in_thread(own, text, most)
            return await made if inspect.isawaitable(made) else made
        try:
            with use(trace=None, listener=None):
                said: Any = await Predict(_summing()).acall(
                    lm=self._lm, task=self._task, steps=text, max_characters=most
                )
        except (AdapterParseError, LMError):
            return listed(text, most)  # the steps may be too long for the model too
        summary: str = said.summary
        return summary


@cache
def _summing() -> type[Signature]:
    return make_signature("task, steps, max_characters: int -> summary", _SUMMARY, "Summary")


def unread(error: AdapterParseError) -> str:
    """What the model is told of a reply that cannot be read."""
    fault = error.__cause__ if isinstance(error.__cause__, AdapterParseError) else error
    # What was wrong at first says more than what was wrong with the reply to that.
    first = " ".join(getattr(error, "__notes__", ()))
    return short(f"That reply could not be read: {fault}. {first}".strip(), NOTE)
