"""`dspex run`: a saved program, once, with inputs from the command line."""

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from dspex.app.app import current_app
from dspex.app.lm import LM
from dspex.core.errors import ConfigurationError, InputError
from dspex.core.identity import plain
from dspex.program import grammar
from dspex.program.chain_of_thought import ChainOfThought
from dspex.program.fields import FieldInfo, field
from dspex.program.module import Module
from dspex.program.predict import Predict
from dspex.program.saving import read_file
from dspex.program.signature import SignatureMeta, make_signature

LITERALS = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+\.\d+|\.\.\."


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-i", "--input", "given", multiple=True, metavar="NAME=TEXT", help="An input; NAME:=JSON if it is no text."
)
@click.option("--lm", "model", metavar="PROVIDER/MODEL", help="The model; else that which was saved.")
@click.option("--program", "named", metavar="PROGRAM", help="package.module:attribute, or a signature's text.")
@click.option("--json", "as_json", is_flag=True, help="Print the outputs as JSON.")
def run(file: Path, given: Sequence[str], model: str | None, named: str | None, as_json: bool) -> None:
    """Run the program that was saved in FILE and print its outputs.

    A Predict or ChainOfThought that was saved by itself is made from its file; for others --program names the class or
    an instance. Nothing else is imported.
    """
    state, _ = read_file(file)
    program = (_named(named, state) if named else _rebuilt(state, file)).load(file)
    if model:
        program.set_lm(LM(model))
    elif current_app().settings.lm is None and any(part.lm is None for part in program.predictors()):
        raise ConfigurationError(f"{file} names no model: add --lm provider/model.")
    outputs = plain(program(**_inputs(given, program)))
    if as_json or not isinstance(outputs, dict):
        click.echo(msgspec.json.format(msgspec.json.encode(outputs), indent=2) if as_json else str(outputs))
        return
    for name, value in outputs.items():
        click.echo(f"{name}: {value}")


def _named(text: str, state: Mapping[str, Any]) -> Module:
    if "->" in text:
        return _of_signature(make_signature(text), state)
    module, _, attribute = text.partition(":")
    # Last on the path, so that no file of this folder stands in for a module that something else imports.
    sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, SignatureMeta):
            return _of_signature(found, state)
        program = found() if isinstance(found, type) else found
    except (Exception, SystemExit) as error:
        advice = "Write package.module:attribute, or a signature such as 'question -> answer'"
        raise ConfigurationError(f"--program {text}: {type(error).__name__}: {error}. {advice}.") from error
    if not isinstance(program, Module):
        raise ConfigurationError(f"--program {text} is a {type(program).__name__}, no dspex.Module and no Signature.")
    return program


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


def _inputs(given: Sequence[str], program: Module) -> dict[str, Any]:
    part = program.predict if isinstance(program, ChainOfThought) else program
    fields = part.signature.input_fields if isinstance(part, Predict) else {}
    inputs: dict[str, Any] = {}
    for item in given:
        match = re.fullmatch(r"(\w+)(:?=)(.*)", item, re.DOTALL)
        if match is None:
            raise InputError(f"--input {item!r:.100}: write NAME=TEXT or NAME:=JSON.")
        name, sign, text = match.groups()
        try:
            inputs[name] = _value(text, sign == ":=", fields.get(name))
        except ValueError as error:
            raise InputError(f"--input {item!r:.100}: {error}") from error
    return inputs


def _value(text: str, is_json: bool, one: FieldInfo | None) -> Any:
    if is_json:
        value = msgspec.json.decode(text)
        return one.convert(value) if one else value
    return one.decode(text) if one is not None and one.annotation is not str else text
