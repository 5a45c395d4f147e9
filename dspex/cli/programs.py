"""Saved programs and importable things as the command line names them."""

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dspex.app.app import current_app
from dspex.app.lm import LM
from dspex.core.errors import ConfigurationError
from dspex.program import grammar
from dspex.program.chain_of_thought import ChainOfThought
from dspex.program.fields import FieldInfo, field
from dspex.program.module import Module
from dspex.program.predict import Predict
from dspex.program.saving import read_file
from dspex.program.signature import SignatureMeta, make_signature

LITERALS = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+\.\d+|\.\.\."


def load_program(file: Path, named: str | None = None, model: str | None = None) -> Module:
    """The program that was saved in a file, ready to run.

    A Predict or ChainOfThought is made from the file alone; for others `named` is package.module:attribute, or a
    signature's text. `model` goes before the one that was saved. Raises ProgramFileError, ConfigurationError.
    """
    state, _ = read_file(file)
    program = (_named(named, state) if named else _rebuilt(state, file)).load(file)
    if model:
        program.set_lm(LM(model))
    elif current_app().settings.lm is None and any(part.lm is None for part in program.predictors()):
        raise ConfigurationError(f"{file} names no model: add --lm provider/model.")
    return program


def imported(text: str, option: str, advice: str = "Write package.module:attribute.") -> Any:
    """What `package.module:attribute` names. Raises ConfigurationError naming the option."""
    module, _, attribute = text.partition(":")
    # Last on the path, so that no file of this folder stands in for a module that something else imports.
    sys.path.append(str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"{option} {text}: {type(error).__name__}: {error}. {advice}") from error


def _named(text: str, state: Mapping[str, Any]) -> Module:
    if "->" in text:
        return _of_signature(make_signature(text), state)
    advice = "Write package.module:attribute, or a signature such as 'question -> answer'."
    found = imported(text, "--program", advice)
    if isinstance(found, SignatureMeta):
        return _of_signature(found, state)
    try:
        program = found() if isinstance(found, type) else found
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"--program {text}: {type(error).__name__}: {error}. {advice}") from error
    if not isinstance(program, Module):
        raise ConfigurationError(f"--program {text} is a {type(program).__name__}, no dspex.Module and no Signature.")
    return program if isinstance(found, type) else program.deepcopy()


def _of_signature(signature: Any, state: Mapping[str, Any]) -> Module:
    return ChainOfThought(signature) if list(state) == ["predict"] else Predict(signature)


def _rebuilt(state: Mapping[str, Any], file: Path) -> Module:
    try:
        part = state["predict"] if list(state) == ["predict"] else state
        fields = dict(_field(row) for row in part["signature"]["fields"])
    except (KeyError, TypeError, ValueError) as error:
        names = ", ".join(name for name in state if name != "signature")
        raise ConfigurationError(
            f"{file} does not say what its program is ({names}): {error}. Name it by --program package.module:attribute, "
            "or --program 'question -> answer' for a Predict or ChainOfThought."
        ) from error
    if part is not state:
        fields.pop("reasoning", None)
    return _of_signature(make_signature(fields), state)


def _field(row: Mapping[str, Any]) -> tuple[str, tuple[Any, FieldInfo]]:
    name, kind = row["name"], row["type"]
    if "." in re.sub(LITERALS, "", kind):
        raise ValueError(f"field {name!r} has the type {kind}, which would have to be imported")
    parsed, *_ = grammar.parse(f"{name}: {kind} -> {name}_")
    return parsed.name, (parsed.annotation, field(row["role"]))
