"""Arguments that are refused before anything is paid."""

from collections.abc import Sequence
from typing import Any

from dspex import ConfigurationError, Module


def at_least(least: int, **given: Any) -> None:
    """Raises ConfigurationError for a number that is none, or below the least; None passes."""
    for name, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ConfigurationError(f"{name}={value!r}: a whole number from {least} on.")


def not_negative(**given: Any) -> None:
    """Raises ConfigurationError for what is no number, or below 0."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise ConfigurationError(f"{name}={value!r}: a number from 0 on.")


def one_of(**given: tuple[Any, Sequence[Any]]) -> None:
    """Raises ConfigurationError for a value that is none of those there are."""
    for name, (value, known) in given.items():
        if value not in known:
            raise ConfigurationError(f"{name}={value!r}: one of {', '.join(map(repr, known))}.")


def unused(**given: tuple[Any, str]) -> None:
    """Raises ConfigurationError for an option of DSPy's that is asked for and means nothing here; says what to do."""
    for name, (value, instead) in given.items():
        if value:
            raise ConfigurationError(f"{name}={value!r} means nothing here: {instead}. Leave it out.")


def alike(student: Module, teacher: Module | None) -> None:
    """Raises ConfigurationError if a teacher's calls could not be demonstrations of the student's predictors."""
    if teacher is None:
        return
    own, other = _fields(student), _fields(teacher)
    if differ := sorted(path for path in own.keys() | other.keys() if own.get(path) != other.get(path)):
        raise ConfigurationError(
            f"The teacher has not the student's predictors: {', '.join(differ)} are not in both with the same fields."
        )


def _fields(program: Module) -> dict[str, Any]:
    signatures = {path: predictor.signature for path, predictor in program.named_predictors()}
    return {path: (list(one.input_fields), list(one.output_fields)) for path, one in signatures.items()}
