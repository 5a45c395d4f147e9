"""compare: whether one program is better than another, on the same examples."""

from collections.abc import Sequence
from typing import Any

from dspex.app.app import current_app
from dspex.core.clock import derived_rng
from dspex.core.errors import EvaluationError
from dspex.core.example import Example
from dspex.evaluate.evaluate import Evaluate, EvaluationResult
from dspex.evaluate.statistics import Comparison, verdict


def compare(a: Any, b: Any, devset: Sequence[Example] | None = None, metric: Any = None, **options: Any) -> Comparison:
    """How much better `b` is than `a`: paired difference, interval, p-value and verdict.

    Each is a program, run on `devset`, or an EvaluationResult. The claim holds for examples that chose neither of them.
    `options` are Evaluate's. Raises EvaluationError if the two were not scored on the same examples.
    """
    return current_app().bridge.run(acompare(a, b, devset, metric, **options))


async def acompare(
    a: Any, b: Any, devset: Sequence[Example] | None = None, metric: Any = None, **options: Any
) -> Comparison:
    """As `compare`."""
    evaluate = Evaluate(devset, metric, **options)
    old, new = [one if isinstance(one, EvaluationResult) else await evaluate.acall(one) for one in (a, b)]
    if [row[0] for row in old.results] != [row[0] for row in new.results]:
        raise EvaluationError(
            "The two results are of different examples, or of another order: evaluate both on one devset."
        )
    before, after = ([float(row[2]) for row in result.results] for result in (old, new))
    return verdict(before, after, derived_rng("compare", "bootstrap"))
