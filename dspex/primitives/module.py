"""DSPy's path of Module."""

from typing import Any

from dspex.program.module import Module
from dspex.utils import magicattr

__all__ = ["Module", "set_attribute_by_name"]


def set_attribute_by_name(obj: Any, path: str, value: Any) -> None:
    """Put a value at a path of attributes and items, as in `steps[0].inner['key'].demos`."""
    magicattr.set(obj, path, value)
