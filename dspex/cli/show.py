"""`dspex show`: what stands in a saved program's file, in words."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from dspex.cli.programs import load_program
from dspex.cli.saved import SavedPart, SavedProgram, read_saved
from dspex.program.provenance import mismatches, other_versions
from dspex.program.saving import read_file
from dspex.program.values import render

SHOWN = 3  # demos of a predictor, unless all are asked for
VALUE = 200  # characters of a demo's value


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--demos", "all_demos", is_flag=True, help="Show all demos, whole.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--program", "named", metavar="PROGRAM", help="Check that it fits package.module:attribute, which is imported."
)
@click.option(
    "--allow", multiple=True, metavar="MODULE", help="Check that it fits its own class, whose module may be imported."
)
def show(file: Path, all_demos: bool, as_json: bool, named: str | None, allow: Sequence[str]) -> None:
    """Tell what a saved program is.

    Its predictors, instructions, demos, models, tools, settings, versions, evidence.

    Nothing is imported, unless --program or --allow says so.
    """
    saved = read_saved(file)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(saved), indent=2))
        return
    for line in described(saved, all_demos=all_demos):
        click.echo(line)
    if named or allow or (saved.is_whole and not saved.functions):
        click.echo(f"fits       {'; '.join(_checked(file, named, allow)) or 'yes'}")


def _checked(file: Path, named: str | None, allow: Sequence[str]) -> Iterator[str]:
    """What of the file is not as the program, here, is. Raises ConfigurationError where it cannot be loaded."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # they are told below
        program = load_program(file, named, allow=allow, needs_model=False)
    _, metadata = read_file(file)
    yield from mismatches(program, metadata)


def described(saved: SavedProgram, *, all_demos: bool = False) -> Iterator[str]:
    """The file in lines."""
    yield f"file       {saved.file}"
    yield f"program    {saved.program}"
    for path, tools in saved.tools.items():
        of = "" if path == "self" else f"{path}: "
        yield from (
            f"tool       {of}{name}({takes}){_from(saved.functions.get(name))}" for name, takes in tools.items()
        )
    for name, place in saved.functions.items():
        if not any(name in tools for tools in saved.tools.values()):
            yield f"function   {name}{_from(place)}"
    if saved.wants:
        yield f"imports    {', '.join(saved.wants)}, where --allow says so"
    if saved.settings:
        yield f"settings   {', '.join(f'{name}={value!r:.{VALUE}}' for name, value in saved.settings.items())}"
    yield f"versions   {', '.join(f'{name} {version}' for name, version in saved.versions.items()) or 'unknown'}"
    yield from (f"other      {line}" for line in other_versions({"dependency_versions": saved.versions}))
    yield f"evidence   {saved.evidence.headline if saved.evidence else 'none'}"
    if saved.evidence is not None:
        yield from (f"           {name}: {text}" for name, text in saved.evidence.rows() if text and name != "versions")
    for part in saved.parts:
        yield ""
        yield from _of_part(part, all_demos)


def _from(place: str | None) -> str:
    """Where a function comes from; None where the program's own class brings it."""
    if place is None:
        return ""
    return f" from {place}" if place else ", which no file can name"


def _of_part(part: SavedPart, all_demos: bool) -> Iterator[str]:
    yield part.path
    yield f"  model       {part.model}"
    if part.config:
        yield f"  parameters  {part.parameters}"
    if part.more:
        yield f"  also        {', '.join(part.more)}"
    yield "  fields"
    yield from (f"    {field}" for field in part.fields)
    yield "  instructions"
    yield from (f"    {line}" for line in part.instructions.splitlines())
    if part.demos:
        yield f"  demos       {len(part.demos)}"
    for number, demo in enumerate(part.demos if all_demos else part.demos[:SHOWN], 1):
        yield f"    {number}. {demo_text(demo, None if all_demos else VALUE)}"
    if len(part.demos) > SHOWN and not all_demos:
        yield f"    and {len(part.demos) - SHOWN} more: --demos"


def demo_text(demo: Any, most: int | None) -> str:
    """A demo in a line, or with line ends where its values have some."""
    rows = []
    for name, value in demo.items():
        if name == "augmented":
            continue
        text = render(value)
        cut = text if most is None or len(text) <= most else f"{text[:most]}..."
        rows.append(f"{name}: {cut if most is None else ' '.join(cut.split())}")
    return "; ".join(rows)
