"""`dspex diff`: what two saved programs differ in, as a model would notice it."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from dspex.cli.saved import SavedPart, SavedProgram, read_saved
from dspex.cli.show import VALUE, demo_text

DIFFERENT = 1


class Change(msgspec.Struct, frozen=True):
    """One difference: of which predictor ("" for the program), in what, and lines that begin with - and +."""

    part: str
    what: str
    lines: tuple[str, ...]


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def diff(ctx: click.Context, first: Path, second: Path, as_json: bool) -> None:
    """Tell what two saved programs differ in.

    Prompts, fields, demos, models, tools, settings, versions, evidence.

    Nothing is imported. Exit code 1 where they differ, as diff's.
    """
    changes = tuple(changed(read_saved(first), read_saved(second)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(changes), indent=2))
    else:
        for line in _told(changes, first, second):
            click.echo(line)
    ctx.exit(DIFFERENT if changes else 0)


def _told(changes: Sequence[Change], first: Path, second: Path) -> Iterator[str]:
    if not changes:
        yield "They do not differ."
        return
    yield f"--- {first}"
    yield f"+++ {second}"
    part = ""
    for change in changes:
        if change.part != part:
            part = change.part
            yield f"\n{part}"
        yield f"{'  ' if part else ''}{change.what}"
        yield from (f"{'  ' if part else ''}  {line}" for line in change.lines)


def changed(one: SavedProgram, other: SavedProgram) -> Iterator[Change]:
    """All differences."""
    yield from _row("", "program", one.program, other.program)
    yield from _rows("", "tools", _tools(one), _tools(other))
    yield from _rows("", "functions", _functions(one), _functions(other))
    yield from _rows("", "settings", _pairs(one.settings), _pairs(other.settings))
    yield from _rows("", "versions", _pairs(one.versions), _pairs(other.versions))
    yield from _row("", "evidence", _headline(one), _headline(other))
    parts, others = ({part.path: part for part in saved.parts} for saved in (one, other))
    for path in dict.fromkeys((*parts, *others)):
        before, after = parts.get(path), others.get(path)
        if before is None or after is None:
            yield Change(
                path, "predictor", ("- it is in the first only" if after is None else "+ it is in the second only",)
            )
        else:
            yield from _of_part(before, after)


def _tools(saved: SavedProgram) -> list[str]:
    return [
        f"{'' if path == 'self' else f'{path}: '}{name}({takes})"
        for path, tools in saved.tools.items()
        for name, takes in tools.items()
    ]


def _functions(saved: SavedProgram) -> list[str]:
    return [
        f"{name} from {place}" if place else f"{name}, which no file can name"
        for name, place in saved.functions.items()
    ]


def _of_part(one: SavedPart, other: SavedPart) -> Iterator[Change]:
    yield from _row(one.path, "model", one.model, other.model)
    yield from _rows(one.path, "parameters", _pairs(one.config), _pairs(other.config))
    yield from _rows(one.path, "fields", list(map(str, one.fields)), list(map(str, other.fields)))
    yield from _rows(one.path, "instructions", one.instructions.splitlines(), other.instructions.splitlines(), around=2)
    yield from _demos(one, other)
    yield from _row(one.path, "also", ", ".join(one.more), ", ".join(other.more))


def _demos(one: SavedPart, other: SavedPart) -> Iterator[Change]:
    """Demos by what they say; in another order they are another prompt."""
    before, after = ([demo_text(demo, None) for demo in part.demos] for part in (one, other))
    if before == after:
        return
    if sorted(before) == sorted(after):
        yield Change(one.path, f"demos: the same {len(after)} in another order", ())
        return
    gone = [text for text in before if text not in after]
    new = [text for text in after if text not in before]
    lines = (*(f"- {_short(text)}" for text in gone), *(f"+ {_short(text)}" for text in new))
    yield Change(one.path, f"demos: {len(before)} before, {len(after)} after", lines)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= VALUE else f"{words[:VALUE]}..."


def _headline(saved: SavedProgram) -> str:
    return saved.evidence.headline if saved.evidence else "none"


def _pairs(given: Mapping[str, Any]) -> list[str]:
    return [f"{name} {value!r}" if not isinstance(value, str) else f"{name} {value}" for name, value in given.items()]


def _row(part: str, what: str, before: str, after: str) -> Iterator[Change]:
    if before != after:
        yield Change(part, what, (f"- {before}", f"+ {after}"))


def _rows(part: str, what: str, before: Sequence[str], after: Sequence[str], around: int = 0) -> Iterator[Change]:
    if list(before) == list(after):
        return
    lines = difflib.unified_diff(before, after, lineterm="", n=around)
    shown = [f"{line[:1]} {line[1:]}".rstrip() for line in lines if not line.startswith(("---", "+++", "@@"))]
    yield Change(part, what, tuple(shown))
