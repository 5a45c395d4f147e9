"""What `compile` and `start` are asked for, looked at before anything else is done."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import msgspec

from dspex.core.errors import ConfigurationError
from dspex.core.evidence import Keep
from dspex.core.example import Example
from dspex.core.usage import Budget
from dspex.program.module import Module


class Options(msgspec.Struct, frozen=True):
    """The keywords of `start`, as they are explained there; `arguments` are the optimizer's own."""

    trainset: Sequence[Example]
    valset: Sequence[Example] | None = None
    teacher: Module | Sequence[Module] | None = None
    holdout: Any = "auto"
    keep: Keep = "estimate"
    run_dir: str | Path | None = None
    fork: str | Path | None = None
    budget: Budget | None = None
    controls: bool = False
    executor: Any = None
    seed: int = 0
    objective: Any = "score"
    max_usd_per_call: float | None = None
    warm_start: Any = None
    group: Any = None
    num_threads: int | None = None
    max_errors: int | None = None
    arguments: Mapping[str, Any] = {}


def teachers_of(given: Module | Sequence[Module] | None) -> list[Module]:
    """The teachers of a compile: none, one or several."""
    return [] if given is None else [given] if isinstance(given, Module) else list(given)


def check_options(options: Options) -> None:
    """Raises ConfigurationError for a value that cannot be meant; what data or plugins decide is looked at where they are."""
    for name, is_right, wanted in _WANTED:
        given = getattr(options, name)
        if not is_right(given):
            raise ConfigurationError(f"{name}={given!r:.80}: {wanted}.")


def _is_listed(given: Any) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping | Example)


def _is_path(given: Any) -> bool:
    return given is None or isinstance(given, str | PathLike)


def _is_start(given: Any) -> bool:
    every = given if isinstance(given, list | tuple) else [] if given is None else [given]
    return all(isinstance(one, Module | str | PathLike) and one != "" for one in every)


def _are_teachers(given: Any) -> bool:
    return (
        given is None or isinstance(given, Module) or (_is_listed(given) and all(isinstance(t, Module) for t in given))
    )


_WANTED: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("trainset", _is_listed, "a list of Examples"),
    ("valset", lambda given: given is None or _is_listed(given), "a list of Examples, or None"),
    ("teacher", _are_teachers, "a program, a list of programs, or None"),
    ("keep", lambda given: given in get_args(Keep), '"estimate", "better" or "best"'),
    ("run_dir", _is_path, "a path, or None"),
    ("fork", _is_path, "the path of a run folder, or None"),
    ("budget", lambda given: given is None or isinstance(given, Budget), "a Budget, or None"),
    ("seed", lambda given: given is None or isinstance(given, Integral), "a whole number"),
    ("warm_start", _is_start, "a program, the path of one, of a run folder or of a file of traces, or a list of these"),
    (
        "max_errors",
        lambda given: given is None or (isinstance(given, Integral) and int(given) >= 0),
        "a whole number, or None",
    ),
)
