"""`dspex mcp`: a saved program as a tool, and the tools of a server."""

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from dspex import Budget
from dspex.cli.programs import load_program


@click.group()
def mcp() -> None:
    """Offer saved programs as MCP tools, or list the tools of an MCP server."""


@mcp.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--lm", "model", metavar="PROVIDER/MODEL", help="The model; else that which was saved.")
@click.option("--program", "named", metavar="PROGRAM", help="package.module:attribute, or a signature's text.")
@click.option("--allow", multiple=True, metavar="MODULE", help="Let the program's own module be imported.")
@click.option("--name", default=None, help="The tool's name; else the file's.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Serve HTTP there, 0: at a free one; else stdin and stdout."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="With --port: the address to listen at.")
@click.option("--max-calls", type=click.IntRange(1), help="A wall: the most LM calls of one tool call.")
@click.option(
    "--budget", "usd", type=click.FloatRange(0), metavar="USD", help="A wall: the most money of one tool call."
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Its time.")
def serve(
    file: Path,
    *,
    model: str | None,
    named: str | None,
    allow: Sequence[str],
    name: str | None,
    port: int | None,
    host: str,
    max_calls: int | None,
    usd: float | None,
    timeout_s: float | None,
) -> None:
    """Offer the program that was saved in FILE as a tool, until the client goes.

    By HTTP each request needs a token: DSPEX_MCP_TOKEN, else one that is made and printed on stderr.
    """
    from dspex_mcp.serving import serve as serving

    program = load_program(file, named, model, allow)
    budget = None if max_calls is None and usd is None else Budget(calls=max_calls, usd=usd)
    serving({name or file.stem: program}, port=port, host=host, budget=budget, timeout_s=timeout_s)


@mcp.command()
@click.argument("server", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print names, descriptions and schemas as JSON.")
def tools(server: Sequence[str], as_json: bool) -> None:
    """List the tools of SERVER: an address, or a command with its arguments, behind `--`."""
    from dspex_mcp.connection import connect

    with connect(server[0] if "://" in server[0] else server) as connection:
        found = connection.tools
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode([tool.definition for tool in found]), indent=2))
        return
    for tool in found:
        click.echo(f"{tool.name}({', '.join(tool.args)}): {' '.join(tool.desc.split())}")
