"""Saved programs and importable things as the command line names them."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dspex.app.app import current_app
from dspex.app.lm import LM
from dspex.core.errors import ConfigurationError, ProgramFileError
from dspex.program.chain_of_thought import ChainOfThought
from dspex.program.loading import load
from dspex.program.module import Module
from dspex.program.predict import Predict
from dspex.program.saving import read_file
from dspex.program.signature import SignatureMeta, make_signature


def load_program(
    file: Path,
    named: str | None = None,
    model: str | None = None,
    allow: Sequence[str] = (),
    *,
    needs_model: bool = True,
) -> Module:
    """The program that was saved in a file, ready to run.

    It is made as `dspex.load` makes it, unless `named` says which it is: package.module:attribute, or a signature's text.
    `model` goes before the one that was saved. Raises ProgramFileError, ConfigurationError.
    """
    state, _ = read_file(file)
    program = _named(named, state).load(file) if named else _whole(file, allow)
    if model:
        program.set_lm(LM(model))
    elif needs_model and current_app().settings.lm is None and any(part.lm is None for part in program.predictors()):
        raise ConfigurationError(f"{file} names no model: add --lm provider/model.")
    return program


def _whole(file: Path, allow: Sequence[str]) -> Module:
    if allow:
        _see_this_folder()
    try:
        return load(file, allow=allow)
    except ProgramFileError as error:
        raise ConfigurationError(
            f"{error} On the command line: --allow MODULE{f' (it was {chr(32).join(allow)})' if allow else ''}, or --program package.module:attribute, or --program "
            "'question -> answer' for a Predict or ChainOfThought."
        ) from error


def _see_this_folder() -> None:
    # Last on the path, so that no file of this folder stands in for a module that something else imports.
    sys.path.append(str(Path.cwd()))


def imported(text: str, option: str, advice: str = "Write package.module:attribute.") -> Any:
    """What `package.module:attribute` names. Raises ConfigurationError naming the option."""
    module, _, attribute = text.partition(":")
    _see_this_folder()
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
