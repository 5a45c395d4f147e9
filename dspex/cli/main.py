"""The `dspex` command: its own commands, and those that plugins offer."""

import io
import os
import re
import sys
from collections.abc import Sequence
from types import MappingProxyType

import click

from dspex.app.app import default_app
from dspex.cli.commands import Commands
from dspex.core.versions import kernel_version

OWN = MappingProxyType(
    {
        "diff": "dspex.cli.diff",
        "doctor": "dspex.cli.doctor",
        "gate": "dspex.cli.gate",
        "plugin": "dspex.cli.scaffold",
        "plugins": "dspex.cli.plugins",
        "run": "dspex.cli.run",
        "runs": "dspex.cli.runs",
        "show": "dspex.cli.show",
    }
)


def _block(_ctx: click.Context, _param: click.Parameter, value: Sequence[str]) -> None:
    wrong = next((item for item in value if not re.fullmatch(r"no:[^,]+", item)), None)
    if wrong is not None:
        raise click.BadParameter(f"{wrong!r} is not of the form no:NAME.")
    if value:
        # By the environment, so that it holds for every App of the command, and for the processes that it starts.
        os.environ["DSPEX_PLUGINS"] = ",".join(filter(None, [os.environ.get("DSPEX_PLUGINS"), *value]))


@click.group(cls=Commands, own=OWN, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kernel_version(), message="dspex %(version)s")
@click.option(
    "-p", "_blocked", metavar="no:NAME", multiple=True, is_eager=True, callback=_block, help="Block a plugin."
)
def cli(_blocked: None) -> None:
    """Program language models, measure the programs, and let optimizers improve them.

    DSPEX_DEBUG=1 shows the traceback of an error.
    """


def main() -> None:
    """Run the command, and close what it has opened."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names may have letters that a terminal has not
    try:
        cli(prog_name="dspex")
    finally:
        app = default_app.replace(None)
        if app is not None:
            app.close(drain=0)
