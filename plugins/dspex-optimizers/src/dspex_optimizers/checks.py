"""Arguments that are refused before anything is paid."""

from collections.abc import Mapping
from typing import Any

from dspex import ConfigurationError, Module


def at_least(least: int, **given: Any) -> None:
    """Raises ConfigurationError for a number that is none, or below the least; None passes."""
    for name, value in given.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ConfigurationError(f"{name}={value!r}: a whole number from {least} on.")


def alike(student: Module, teacher: Module | None) -> None:
    """Raises ConfigurationError if a teacher's calls could not be demonstrations of the student's predictors."""
    if not isinstance(teacher, Module):  # none, or several, which the engine refuses
        return
    own, other = fields(student), fields(teacher)
    differ = sorted(path for path in own.keys() | other.keys() if own.get(path) != other.get(path))
    if differ:
        raise ConfigurationError(
            f"The teacher's runs cannot be demonstrations for the student: the predictors {', '.join(differ)} are not in both "
            "with the same fields."
        )


def fields(program: Module) -> dict[str, Any]:
    """Names of the inputs and outputs of each predictor, by its path."""
    signatures = {path: predictor.signature for path, predictor in program.named_predictors()}
    return {path: (list(one.input_fields), list(one.output_fields)) for path, one in signatures.items()}


def not_negative(**given: Any) -> None:
    """Raises ConfigurationError for what is no number, or below zero."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise ConfigurationError(f"{name}={value!r}: a number from 0 on.")


def racing(race_z: Any) -> None:
    """Raises ConfigurationError for what no race can be ended by; None ends none."""
    if race_z is not None:
        not_negative(race_z=race_z)


def is_model(**given: Any) -> None:
    """Raises ConfigurationError for a model's name in place of a handle; None passes."""
    for name, value in given.items():
        if isinstance(value, str):
            raise ConfigurationError(f"{name}={value!r}: a handle, as dspex.LM({value!r}).")


def needs_metric(optimizer: Any) -> None:
    """Raises ConfigurationError for a search without a metric; inside another optimizer it has that one's."""
    if optimizer.metric is None:
        raise ConfigurationError(
            f"{type(optimizer).__name__} needs a metric to tell programs apart: {type(optimizer).__name__}(metric=...)."
        )


def no_teacher(optimizer: Any, options: Mapping[str, Any], instead: str) -> None:
    """Raises ConfigurationError for a teacher that would do nothing; `instead` is the argument that has its part."""
    if options.get("teacher") is not None:
        raise ConfigurationError(
            f"{type(optimizer).__name__}.compile has no use for a teacher: the model that helps is {instead}=."
        )


def positive(**given: Any) -> None:
    """Raises ConfigurationError for what is no number above zero."""
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ConfigurationError(f"{name}={value!r}: a number above 0.")
