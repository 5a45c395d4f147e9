"""What tells programs, examples and metrics apart, in any process: identity by state and by code."""

import math
from collections.abc import Mapping
from functools import partial
from types import CodeType
from typing import Any

from dspex.core.candidate import SELECTORS, Candidate, Demo, PredictorState
from dspex.core.errors import ConfigurationError
from dspex.core.example import Example
from dspex.core.identity import canonical, digest, plain
from dspex.program.module import Module
from dspex.program.types.tool import Tool


def example_key(example: Example) -> str:
    """Identity of an example: its fields, and which of them are inputs. Raises ConfigurationError that names the field."""
    try:
        return digest([example._store, sorted(example._input_keys or ())])
    except ConfigurationError as error:
        named = next(filter(partial(_is_no_data, example._store), example._store), "")
        raise ConfigurationError(
            f"Field {named!r} of {example!r:.200} cannot be kept, as what a run knows of its examples is JSON: "
            f"{error.__cause__}. Give it as text, numbers or lists of them, or leave it out."
        ) from error


def _is_no_data(store: Mapping[str, Any], name: str) -> bool:
    try:
        canonical(store[name])
    except ConfigurationError:
        return True
    return False


def structure_of(program: Module) -> str:
    """Identity of what an optimizer does not change: class, code of a user's `forward`, fields, types, own models."""
    parts = []
    for path, predictor in program.named_predictors():
        compiled = predictor.signature.compiled
        sides = [
            [[f.name, f.type_text, f.desc, f.prefix, f.constraints] for f in s]
            for s in (compiled.inputs, compiled.outputs)
        ]
        own = getattr(predictor, "lm", None)  # a teacher that differs by its model only is another program
        parts.append([path, sides, plain(predictor.config), *([] if own is None else [plain(own.identity)])])
    return digest([_kind(program), _forward(program), parts])


def extracted(program: Module) -> Candidate:
    """A program's state as a candidate."""
    states = {}
    for path, predictor in program.named_predictors():
        states[path] = PredictorState(predictor.signature.instructions, demos_of(predictor), _params(predictor))
    return Candidate(structure_of(program), states)


def _params(predictor: Any) -> dict[str, Any]:
    bias, params = getattr(predictor, "choice_bias", None), selector_params(predictor)
    if not bias:
        return params
    from dspex.program.choice_bias import read_bias

    return {**params, "choice_bias": read_bias(predictor.signature.compiled, bias)}


def selector_params(predictor: Any) -> dict[str, Any]:
    """What tells how a predictor's demos are chosen, as a candidate has it; nothing where all are shown."""
    selector, (nearest, other) = getattr(predictor, "demo_selector", None), SELECTORS
    return {} if selector is None else {nearest if hasattr(selector, "dump_state") else other: fingerprint(selector)}


def demos_of(predictor: Any) -> tuple[Demo, ...]:
    """A predictor's demos as data."""
    return tuple(map(_demo, predictor.demos))


def _demo(demo: Any) -> Demo:
    fields = {name: plain(value) for name, value in (demo.items(True) if isinstance(demo, Example) else demo.items())}
    return Demo(fields, bool(fields.pop("augmented", False)))


def fingerprint(thing: Any) -> Any:
    """JSON data that tells an argument from another in any process: functions by their code, programs by their state.

    An object with a `cache_key` is told by that and its class.
    """
    if isinstance(thing, Module):
        return [extracted(thing).key, _forward(thing)]
    if isinstance(thing, Mapping):
        return {str(name): fingerprint(value) for name, value in thing.items()}
    if isinstance(thing, set | frozenset):
        return sorted(map(str, thing))
    if isinstance(thing, list | tuple | range):
        return [fingerprint(one) for one in thing]
    if isinstance(thing, Tool):
        return [plain(thing.definition), fingerprint(thing.func)]
    if (identity := getattr(thing, "identity", None)) is not None:
        return plain(identity)
    code = getattr(thing, "__code__", None)
    if code is None and not callable(thing):
        return _plain_or_kind(thing)
    name = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}" if code else _kind(thing)
    if (given := getattr(thing, "cache_key", None)) is not None:
        return [name, plain(given)]
    if isinstance(thing, partial):
        return [name, fingerprint(thing.func), fingerprint(thing.args), fingerprint(thing.keywords)]
    if code is None:
        call = getattr(type(thing).__call__, "__code__", None)
        return [name, digest(_code(call)) if call else "", fingerprint(getattr(thing, "__dict__", {}))]
    cells = [_cell(cell) for cell in getattr(thing, "__closure__", None) or ()]
    return [name, digest(_code(code)), cells, fingerprint(getattr(thing, "__defaults__", None) or ())]


def _cell(cell: Any) -> Any:
    try:
        content = cell.cell_contents
    except ValueError:  # empty: its function is not defined yet
        return None
    code = getattr(content, "__code__", None)  # without its own cells, which may hold itself
    return digest(_code(code)) if code else _plain_or_kind(content)


def _plain_or_kind(thing: Any) -> Any:
    try:
        return _in_json(plain(thing))
    except (TypeError, ValueError, NotImplementedError, RecursionError):
        return _kind(thing)


def _in_json(data: Any) -> Any:
    """Plain data whose numbers that JSON has no form for are words."""
    if isinstance(data, float) and not math.isfinite(data):
        return ["float", repr(data)]
    if isinstance(data, dict):
        return {name: _in_json(value) for name, value in data.items()}
    return [_in_json(value) for value in data] if isinstance(data, (list, tuple)) else data


def _code(code: CodeType) -> list[Any]:
    constants = [_code(one) if isinstance(one, CodeType) else _sorted(one) for one in code.co_consts]
    return [code.co_code.hex(), code.co_names, constants]


def _sorted(constant: Any) -> str:
    # The order of a set of strings differs from process to process.
    return repr(sorted(constant, key=repr)) if isinstance(constant, frozenset) else repr(constant)


def _kind(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _forward(program: Module) -> list[Any]:
    """Code of the user's own classes in a program, and what ours were made with: their own code may change with the
    version and mean the same.
    """
    own = {type(part) for _, part in program.named_sub_modules() if not type(part).__module__.startswith("dspex.")}
    runs = [(f"{kind.__module__}.{kind.__qualname__}", getattr(kind, name, None)) for kind in own for name in RUNS]
    codes = [(name, getattr(run, "__code__", None)) for name, run in runs]
    made = [[path, fingerprint(traits)] for path, part in program.named_sub_modules() if (traits := part._traits())]
    return [*sorted([name, digest(_code(code))] for name, code in codes if code is not None), *made]


RUNS = ("forward", "aforward")
