"""Parallel: many programs, each on an input of its own, side by side."""

from collections.abc import Iterable
from typing import Any

from dspex.app.app import current_app
from dspex.core.errors import InputError
from dspex.program.batch import collected, runs, side_by_side


class Parallel:
    """`Parallel()([(program, example), ...])` gives the results in order, at most `num_threads` running at once.

    A program is a module, a function, sync or async, or another Parallel, whose example is a list of pairs. An Example
    gives its inputs, or without `access_examples` itself; a dict is keywords, a tuple arguments. A failed pair is None
    and warned of; with `return_failed_examples` the result is (results, failed examples, their errors). At `max_errors`
    failures EvaluationError is raised. The last three arguments are DSPy's and do nothing: no pair is ever run twice.
    One object serves any number of calls, also at once.
    """

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        num_threads: int | None = None,
        max_errors: int | None = None,
        access_examples: bool = True,
        return_failed_examples: bool = False,
        provide_traceback: bool | None = None,
        disable_progress_bar: bool = False,
        timeout: float = 120,
        straggler_limit: int = 3,
    ) -> None:
        self.num_threads = num_threads
        self.max_errors = max_errors
        self.access_examples = access_examples
        self.return_failed_examples = return_failed_examples
        self.provide_traceback = provide_traceback
        self.disable_progress_bar = disable_progress_bar
        self.timeout = timeout
        self.straggler_limit = straggler_limit

    def __call__(self, exec_pairs: Iterable[Any], num_threads: int | None = None) -> Any:
        """`acall`, waited for."""
        return current_app().bridge.run(self.acall(exec_pairs, num_threads))

    forward = __call__

    async def acall(self, exec_pairs: Iterable[Any], num_threads: int | None = None) -> Any:
        """Run all pairs. Raises InputError for what is no pair, before any is run."""
        pairs = list(exec_pairs)
        for place, pair in enumerate(pairs):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not callable(pair[0]):
                raise InputError(f"Parallel takes pairs (program, example); at {place} it was given {pair!r:.120}.")
        programs = {id(program): program for program, _ in pairs}
        limit = side_by_side(programs.values(), self.num_threads if num_threads is None else num_threads)
        run_of = {key: runs(one, access_examples=self.access_examples) for key, one in programs.items()}

        async def run(place: int) -> Any:
            program, example = pairs[place]
            return await run_of[id(program)](example)

        found = await collected(
            run,
            range(len(pairs)),
            limit,
            self.max_errors,
            self.provide_traceback,
            return_failed=self.return_failed_examples,
        )
        if not self.return_failed_examples:
            return found
        results, places, errors = found
        return results, [pairs[place][1] for place in places], errors
