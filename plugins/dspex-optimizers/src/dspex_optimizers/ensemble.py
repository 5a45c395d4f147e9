"""Several programs as one."""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from dspex import ConfigurationError, Example, Module, Optimizer
from dspex_optimizers.checks import at_least


class Ensemble(Optimizer):
    """A program that runs several side by side and gives what `reduce_fn` makes of their results, or the list of them.

    `reduce_fn` is a function of the list, as `dspex.majority`, and may be async. `size` runs that many of them, drawn anew for
    each call, with `deterministic=True` by the call's inputs. `compile(programs)` makes no call to a model.
    """

    def __init__(
        self,
        *,
        reduce_fn: Callable[[list[Any]], Any] | None = None,
        size: int | None = None,
        deterministic: bool = False,
    ) -> None:
        at_least(1, size=size)
        if reduce_fn is not None and not callable(reduce_fn):
            raise ConfigurationError(
                f"reduce_fn={reduce_fn!r:.80}: a function of the list of results, as dspex.majority."
            )
        self.reduce_fn = reduce_fn
        self.size = size
        self.deterministic = deterministic

    def compile(self, programs: Sequence[Module]) -> "EnsembledProgram":  # type: ignore[override]  # DSPy's form
        """One program of copies of these; the programs themselves are not touched."""
        if isinstance(programs, Module) or not programs or not all(isinstance(one, Module) for one in programs):
            raise ConfigurationError(
                f"Ensemble.compile takes a list of programs, not {programs!r:.80}; of a search's result they are "
                '[one["program"] for one in result.candidate_programs].'
            )
        if self.size is not None and self.size > len(programs):
            raise ConfigurationError(f"size={self.size}: there are {len(programs)} programs.")
        copies = [one.deepcopy() for one in programs]
        return EnsembledProgram(copies, self.reduce_fn, self.size, self.deterministic)

    async def acompile(self, programs: Sequence[Module]) -> "EnsembledProgram":  # type: ignore[override]  # DSPy's form
        """As `compile`."""
        return self.compile(programs)

    def start(self, *_args: Any, **_options: Any) -> NoReturn:
        """Refused: there is nothing to wait for. Raises ConfigurationError."""
        raise ConfigurationError("An Ensemble makes no call, so it has no job: Ensemble(...).compile(programs).")


class EnsembledProgram(Module):
    """The program that `Ensemble` makes; it saves all its programs, and loads into an ensemble of as many."""

    def __init__(
        self,
        programs: Sequence[Module],
        reduce_fn: Callable[[list[Any]], Any] | None = None,
        size: int | None = None,
        deterministic: bool = False,
    ) -> None:
        super().__init__()
        self.programs = list(programs)
        self.reduce_fn = reduce_fn
        self.size = size
        self.deterministic = deterministic
        self._compiled = True
        self._draws = random.Random()

    async def aforward(self, **inputs: Any) -> Any:
        """Run them side by side; the first error, in their order, cancels the others and is raised."""
        tasks: list[asyncio.Task[Any]] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks += [group.create_task(one.acall(**inputs)) for one in self._drawn(inputs)]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        results = [task.result() for task in tasks]
        if self.reduce_fn is None:
            return results
        reduced = self.reduce_fn(results)
        return await reduced if asyncio.iscoroutine(reduced) else reduced

    def _drawn(self, inputs: dict[str, Any]) -> list[Module]:
        if self.size is None:
            return self.programs
        told = json.dumps(Example(inputs).toDict(), sort_keys=True, default=str) if self.deterministic else ""
        return (random.Random(told) if self.deterministic else self._draws).sample(self.programs, self.size)
