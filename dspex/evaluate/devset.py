"""A devset as it is run: numbered examples, each with the inputs that the program needs."""

import inspect
from collections.abc import AsyncIterable, Iterable, Iterator, Sized
from typing import Any

from dspex.core.errors import ConfigurationError, EvaluationError
from dspex.core.example import Example
from dspex.evaluate.result import SliceBy, slice_of
from dspex.program.shared_iterator import SharedIterator

Numbered = tuple[int, Example]


def checked(
    devset: Iterable[Example] | AsyncIterable[Example] | None, program: Any, slice_by: SliceBy | None = None
) -> Iterator[Numbered] | SharedIterator[Numbered]:
    """Numbered examples for any number of workers; those of a devset with a length are checked at once."""
    if devset is None:
        raise ConfigurationError("Evaluate has no devset: give it one, Evaluate(devset=[...]), or give the call one.")
    required = inputs_of(program)

    def check(index: int, example: Example) -> Numbered:
        if slice_by is not None:
            slice_of(slice_by, index, example)
        return index, _check(index, example, required)

    if isinstance(devset, AsyncIterable):
        return SharedIterator(devset, check)
    made = (check(index, example) for index, example in enumerate(devset))
    return made if length(devset) is None else iter(list(made))


def length(devset: Any) -> int | None:
    """How many examples there are, None for what does not say."""
    return len(devset) if isinstance(devset, Sized) else None


def inputs_of(program: Any, *, required_only: bool = True) -> frozenset[str]:
    """Inputs of a program, as far as its signature or its `forward` tells; without `required_only` those with a default too."""
    if (compiled := getattr(getattr(program, "signature", None), "compiled", None)) is not None:
        return frozenset(field.name for field in compiled.inputs if field.required or not required_only)
    run = getattr(program, "aforward", None) or getattr(program, "forward", None)
    named = inspect.signature(run).parameters.values() if run else ()
    given = [one for one in named if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    return frozenset(one.name for one in given if one.default is one.empty or not required_only)


def _check(index: int, example: Example, required: frozenset[str]) -> Example:
    declared = getattr(example, "_input_keys", None)
    if declared is None:
        raise EvaluationError(f"Example {index} declares no inputs: call .with_inputs(...) on {example!r:.200}")
    if missing := [name for name in {*declared, *required} if name not in example or name not in declared]:
        raise EvaluationError(f"Example {index} lacks the input {', '.join(sorted(missing))}: {example!r:.200}")
    return example
