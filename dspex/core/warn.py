"""Telling the user of what went wrong and was got over."""

import warnings


def warn(message: str) -> None:
    """Tell the user once, through Python's own warnings."""
    warnings.warn(message, RuntimeWarning, stacklevel=3)
