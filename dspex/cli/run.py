"""`dspex run`: a saved program, once, with inputs from the command line."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from dspex.cli.programs import load_program
from dspex.core.errors import InputError
from dspex.core.identity import plain
from dspex.program.fields import FieldInfo
from dspex.program.module import Module


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-i", "--input", "given", multiple=True, metavar="NAME=TEXT", help="An input; NAME:=JSON if it is no text."
)
@click.option("--lm", "model", metavar="PROVIDER/MODEL", help="The model; else that which was saved.")
@click.option("--program", "named", metavar="PROGRAM", help="package.module:attribute, or a signature's text.")
@click.option(
    "--allow", multiple=True, metavar="MODULE", help="Let the program's own module be imported, or all below one."
)
@click.option("--json", "as_json", is_flag=True, help="Print the outputs as JSON.")
def run(
    file: Path, *, given: Sequence[str], model: str | None, named: str | None, allow: Sequence[str], as_json: bool
) -> None:
    """Run the program that was saved in FILE and print its outputs.

    One of dspex's own modules that was saved by itself is made from its file. For another --allow lets the class, and for an
    agent the tools, that the file names be imported; or --program names the class or an instance. Nothing else is imported.
    """
    program = load_program(file, named, model, allow)
    inputs = _inputs(given, program)
    try:
        outputs = plain(program(**inputs))
    except InputError as error:
        raise InputError(f"{error}\nInputs are given by --input NAME=TEXT; `dspex show {file}` lists them.") from error
    if as_json or not isinstance(outputs, dict):
        click.echo(msgspec.json.format(msgspec.json.encode(outputs), indent=2) if as_json else str(outputs))
        return
    for name, value in outputs.items():
        click.echo(f"{name}: {value}")


def _inputs(given: Sequence[str], program: Module) -> dict[str, Any]:
    fields = _input_fields(program)
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


def _input_fields(program: Module) -> Mapping[str, FieldInfo]:
    """What it takes, as far as it says: by its signature, or that of the one module that it runs."""
    part: Any = program
    while not hasattr(part, "signature"):
        part = getattr(part, "predict", None) or getattr(part, "module", None)
        if not isinstance(part, Module):
            return {}
    fields: Mapping[str, FieldInfo] = part.signature.input_fields
    return fields


def _value(text: str, is_json: bool, one: FieldInfo | None) -> Any:
    if is_json:
        value = msgspec.json.decode(text)
        return one.convert(value) if one else value
    return one.decode(text) if one is not None and one.annotation is not str else text
