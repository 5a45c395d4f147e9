"""majority: the answer that most completions give."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from dspex.core.errors import ConfigurationError
from dspex.core.example import Completions, Prediction
from dspex.core.texts import comparable


def default_normalize(value: Any) -> str | None:
    """The form that answers are counted in; None for one that says nothing. Numbers keep their sign and point."""
    # "A" and "the" have no normal form: there the text itself counts, so that an answer "A" is an answer.
    return comparable(value) or str(value).strip().casefold() or None


def majority(
    prediction_or_completions: Prediction | Completions | Sequence[Any],
    normalize: Callable[[Any], Any] | None = default_normalize,
    field: str | None = None,
) -> Prediction:
    """The completion whose `field` (the last output) most others share, the earliest of equally frequent ones.

    Takes a Prediction of several completions, or a list of Predictions. Values that `normalize` makes None are not counted
    where there are others; `normalize` None compares the values as they are. Raises ConfigurationError for no completion, or one without
    the field.
    """
    given: Any = prediction_or_completions
    if isinstance(given, Prediction):
        given = given.completions or [given]
    if isinstance(given, str) or not isinstance(given, Sequence) or not len(given):
        raise ConfigurationError(f"majority takes a Prediction or a list with at least one of them, not {given!r:.80}.")
    rows, signature = list(given), getattr(given, "signature", None)
    name = field or next(reversed(list(signature.output_fields if signature is not None else rows[0])), None)
    lacking = next((place for place, row in enumerate(rows) if name is None or name not in row), None)
    if lacking is not None:
        raise ConfigurationError(f"majority counts the field {name!r}, which {rows[lacking]!r:.80} does not have.")
    values = [normalize(row[name]) if normalize else row[name] for row in rows]
    counts = Counter(repr(value) for value in values if value is not None) or Counter(map(repr, values))
    most = max(counts, key=counts.__getitem__)  # counted in order: of equals the first
    winner = rows[next(place for place, value in enumerate(values) if repr(value) == most)]
    return Prediction.from_completions([winner], signature)
