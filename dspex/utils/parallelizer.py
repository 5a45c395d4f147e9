"""DSPy's path of what runs a function over items in threads."""

from collections.abc import Callable, Iterable
from typing import Any

from dspex.app.app import current_app
from dspex.program.batch import collected, side_by_side
from dspex.runtime.worker_threads import in_thread

__all__ = ["ParallelExecutor"]


class ParallelExecutor:
    """`ParallelExecutor(num_threads=4).execute(function, items)` gives the results in order, None where the function failed.

    Then `failed_indices` and `exceptions_map` say which failed, and how. At `max_errors` failures EvaluationError is raised. The last
    four arguments are DSPy's and do nothing: nothing is printed, and nothing run twice.
    """

    def __init__(  # noqa: PLR0917  DSPy's order
        self,
        num_threads: int | None = None,
        max_errors: int | None = None,
        disable_progress_bar: bool = False,
        provide_traceback: bool | None = None,
        compare_results: bool = False,
        timeout: float | None = 120,
        straggler_limit: int = 3,
    ) -> None:
        self.num_threads = num_threads
        self.max_errors = max_errors
        self.disable_progress_bar = disable_progress_bar
        self.provide_traceback = provide_traceback
        self.compare_results = compare_results
        self.timeout = timeout
        self.straggler_limit = straggler_limit
        self.failed_indices: list[int] = []
        self.exceptions_map: dict[int, BaseException] = {}

    def execute(self, function: Callable[[Any], Any], data: Iterable[Any]) -> list[Any]:
        """The result for each item."""

        async def run(place: tuple[int, Any]) -> Any:
            return await in_thread(function, place[1])

        places = list(enumerate(data))
        work = collected(
            run,
            places,
            side_by_side((), self.num_threads),
            self.max_errors,
            self.provide_traceback,
            return_failed=True,
        )
        results, lost, errors = current_app().bridge.run(work)
        self.exceptions_map = {place: error for (place, _), error in zip(lost, errors, strict=True)}
        self.failed_indices = list(self.exceptions_map)
        return results  # type: ignore[no-any-return]  # as many as there were items
