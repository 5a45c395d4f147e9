"""compare: whether one program is better than another, on the same examples."""

from collections.abc import AsyncIterable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.core.clock import derived_rng
from dspex.core.errors import ConfigurationError, EvaluationError
from dspex.core.evidence import Comparison
from dspex.core.example import Example
from dspex.evaluate import comparison_html, comparison_text
from dspex.evaluate.evaluate import Evaluate, named
from dspex.evaluate.result import EvaluationResult, collected
from dspex.evaluate.running import Row
from dspex.evaluate.sequential import BLOCK, Look, Wealth, anytime_verdict, shown
from dspex.evaluate.statistics import verdict
from dspex.program.saving import write_atomically
from dspex.runtime.worker_threads import in_thread


class ProgramComparison(Comparison, frozen=True, dict=True):
    """A Comparison that still has the two evaluations behind it; `looks` are those of a sequential one.

    Written as JSON it is a Comparison with its looks: the evaluations, which hold whole predictions, stay behind.
    """

    looks: tuple[Look, ...] = ()

    @property
    def before(self) -> EvaluationResult:
        """The evaluation of the first program."""
        return self.__dict__["_runs"][0]  # type: ignore[no-any-return]  # set where it is made

    @property
    def after(self) -> EvaluationResult:
        """The evaluation of the second program."""
        return self.__dict__["_runs"][1]  # type: ignore[no-any-return]  # as above

    @property
    def won(self) -> list[tuple[Row, Row]]:
        """Rows of both programs on the examples that the second one scored higher on."""
        return [(old, new) for old, new in self._rows if new.score > old.score]

    @property
    def lost(self) -> list[tuple[Row, Row]]:
        """Rows of both programs on the examples that the second one scored lower on."""
        return [(old, new) for old, new in self._rows if new.score < old.score]

    @property
    def _rows(self) -> Iterable[tuple[Row, Row]]:
        return zip(self.before.rows, self.after.rows, strict=True)

    def report(self, limit: int = 20) -> str:
        """The verdict, both scores and costs, and the first `limit` examples won and lost, as text for a terminal."""
        return comparison_text.report(self, self.before, self.after, self.lost, self.won, limit)

    def html(self) -> str:
        """The same as one HTML page that loads nothing; what programs wrote is shown and never interpreted."""
        return comparison_html.page(self, self.before, self.after, self.lost, self.won, self.looks)

    def save_html(self, path: str | Path) -> None:
        """Write `html()` to a file that only this user can read."""
        write_atomically(Path(path), self.html().encode(errors="replace"))


def compare(a: Any, b: Any, devset: Any = None, metric: Any = None, **options: Any) -> ProgramComparison:
    """How much better `b` is than `a`: paired difference, interval, p-value and verdict.

    Each is a program, run on `devset`, or an EvaluationResult. The claim holds for examples that chose neither of them.
    `sequential=True` runs the examples in an order fixed by chance, looks after each 32 and stops when a verdict is shown;
    its figures hold in spite of the looks. `alpha` (0.05) is the chance of a wrong verdict, both sides together; further
    `options` are Evaluate's. Raises EvaluationError if the two were not scored on the same examples.
    """
    return current_app().bridge.run(acompare(a, b, devset, metric, **options))


async def acompare(
    a: Any, b: Any, devset: Any = None, metric: Any = None, *, sequential: bool = False, alpha: float = 0.05, **options: Any
) -> ProgramComparison:  # fmt: skip
    """As `compare`."""
    if not 0 < alpha < 1:
        raise ConfigurationError(f"alpha={alpha!r}: a chance between 0 and 1, such as 0.05.")
    run_dir = options.pop("run_dir", None)
    evaluate = Evaluate(devset if devset is None else await _listed(devset), metric, **options)
    if sequential:
        return await _in_blocks(a, b, evaluate, alpha, run_dir)
    old, new = await _evaluated(a, b, evaluate, run_dir)
    if [row[0] for row in old.results] != [row[0] for row in new.results]:
        raise EvaluationError(
            "The two results are of different examples, or of another order: evaluate both on one devset."
        )
    before, after = _scores(old), _scores(new)
    # In a thread: thousands of resamples of graded scores take a second that others on this loop need not wait.
    found = await in_thread(verdict, before, after, derived_rng("compare", "bootstrap"), alpha=alpha)
    return _told(found, old, new)


async def _in_blocks(a: Any, b: Any, evaluate: Evaluate, alpha: float, run_dir: Any) -> ProgramComparison:
    examples = evaluate.devset
    if isinstance(a, EvaluationResult) or isinstance(b, EvaluationResult) or not isinstance(examples, list):
        raise ConfigurationError("sequential=True stops before all examples are run: give two programs and a devset.")
    order = derived_rng("compare", "order").sample(range(len(examples)), len(examples))
    old: list[Row] = []
    new: list[Row] = []
    wealth, looks = Wealth(), []
    for start in range(0, len(order), BLOCK):
        places = order[start : start + BLOCK]
        folder = None if run_dir is None else Path(run_dir) / f"{start:06}"
        block = msgspec.structs.replace(evaluate, devset=[examples[place] for place in places])
        for rows, result in zip((old, new), await _evaluated(a, b, block, folder), strict=True):
            rows += [msgspec.structs.replace(row, index=places[row.index]) for row in result.rows]
        for one, other in zip(old[start:], new[start:], strict=True):
            wealth.add(other.score - one.score)
        gain = sum(row.score for row in new) - sum(row.score for row in old)
        looks.append(Look(len(old), gain / len(old), *wealth.sides))
        if shown(looks[-1], alpha):
            break
    if not looks:
        raise EvaluationError("The devset is empty: a comparison needs examples.")
    names = named(evaluate.metric)
    before, after = (collected(rows, names, evaluate.slice_by) for rows in (old, new))
    found = anytime_verdict(_scores(before), _scores(after), looks, alpha=alpha, cap=len(examples))
    return _told(found, before, after, looks)


async def _evaluated(a: Any, b: Any, evaluate: Evaluate, run_dir: Any) -> list[EvaluationResult]:
    found = []
    for name, one in (("a", a), ("b", b)):
        folder = None if run_dir is None else Path(run_dir) / name
        found.append(one if isinstance(one, EvaluationResult) else await evaluate.acall(one, run_dir=folder))
    return found


async def _listed(devset: Iterable[Example] | AsyncIterable[Example]) -> list[Example]:
    """Both programs, and every block, go over it."""
    if isinstance(devset, AsyncIterable):
        return [example async for example in devset]
    return list(devset)


def _told(
    found: Comparison, before: EvaluationResult, after: EvaluationResult, looks: Sequence[Look] = ()
) -> ProgramComparison:
    made = ProgramComparison(**msgspec.structs.asdict(found), looks=tuple(looks))
    made.__dict__["_runs"] = (before, after)
    return made


def _scores(result: EvaluationResult) -> list[float]:
    return [float(score) for _, _, score in result.results]
