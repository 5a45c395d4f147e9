"""The values of one field of the metadata, over all records, as arrays that a condition is compared with at once."""

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

from dspex.plugin import Condition
from dspex_vectors.rows import Mask

# Whole numbers beyond it are no float64.
EXACT = 1 << 53
NONE = -1


class Column:
    """Numbers stand as numbers, any other value by its place among the different ones."""

    def __init__(self, values: Iterable[Any]) -> None:
        self._numbers, self._codes = array("d"), array("l")
        self._known: dict[tuple[type, Any], int] = {}
        self._values: list[Any] = []
        self._arrays: tuple[Any, Any] = (np.empty(0), np.empty(0, np.int64))
        self.extend(values)

    def extend(self, values: Iterable[Any]) -> None:
        """Put values behind the others."""
        for value in values:
            is_number = type(value) is float or (type(value) is int and -EXACT <= value <= EXACT)
            self._numbers.append(value if is_number else np.nan)
            self._codes.append(NONE if is_number else self._code(value))

    def _code(self, value: Any) -> int:
        if not isinstance(value, (str, bool, int, float)):
            return NONE
        code = self._known.setdefault((type(value), value), len(self._values))
        if code == len(self._values):
            self._values.append(value)
        return code

    def holding(self, condition: Condition, count: int) -> Mask:
        """For which of the first `count` records the condition holds."""
        numbers, codes = self._current(count)
        mask: Mask = np.zeros(count, np.bool_)
        wanted = [code for code, value in enumerate(self._values) if condition.holds(value)]
        if wanted:
            mask = np.isin(codes, wanted)
        for value in condition.values:
            if not isinstance(value, (str, bool)):
                mask |= _compared(numbers, condition.operator, float(value))
        return mask

    def _current(self, count: int) -> tuple[Any, Any]:
        if len(self._arrays[0]) < count:
            # Copies: an array that is looked at cannot grow.
            self._arrays = np.array(self._numbers), np.array(self._codes)
        return self._arrays[0][:count], self._arrays[1][:count]


def _compared(numbers: Any, operator: str, value: float) -> Mask:
    compare = {"in": np.equal, "gt": np.greater, "gte": np.greater_equal, "lt": np.less, "lte": np.less_equal}
    mask: Mask = compare[operator](numbers, value)
    return mask
