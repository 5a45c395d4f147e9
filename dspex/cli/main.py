"""The `dspex` command: its own commands, and those that plugins offer."""

import os
import re
from collections.abc import Sequence

import click

from dspex.app.app import current_app, default_app
from dspex.cli.doctor import doctor, version_of
from dspex.cli.gate import gate
from dspex.cli.plugins import plugins
from dspex.cli.run import run
from dspex.cli.runs import runs
from dspex.cli.scaffold import plugin
from dspex.core.errors import ConfigurationError, DspexError


class Failure(click.ClickException):
    """One of our errors without its traceback; its exit code tells a wrong request from a bug."""

    exit_code = 2


class Commands(click.Group):
    """Own commands first; plugins are loaded only for a name that is none of these, and for the list of all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *current_app().plugins.names("commands")})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.commands.get(cmd_name) or current_app().plugins.command(cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str, click.Command, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None:
            raise ConfigurationError(current_app().plugins.unknown("commands", args[0], own=self.commands))
        return args[0], command, args[1:]

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except DspexError as error:
            if os.environ.get("DSPEX_DEBUG"):
                raise
            raise Failure(str(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            raise click.exceptions.Exit(130) from None


def _block(_ctx: click.Context, _param: click.Parameter, value: Sequence[str]) -> None:
    wrong = next((item for item in value if not re.fullmatch(r"no:[^,]+", item)), None)
    if wrong is not None:
        raise click.BadParameter(f"{wrong!r} is not of the form no:NAME.")
    if value:
        # By the environment, so that it holds for every App of the command, and for the processes that it starts.
        os.environ["DSPEX_PLUGINS"] = ",".join(filter(None, [os.environ.get("DSPEX_PLUGINS"), *value]))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version_of("dspex"), message="dspex %(version)s")
@click.option(
    "-p", "_blocked", metavar="no:NAME", multiple=True, is_eager=True, callback=_block, help="Block a plugin."
)
def cli(_blocked: None) -> None:
    """Program language models, measure the programs, and let optimizers improve them.

    DSPEX_DEBUG=1 shows the traceback of an error.
    """


for command in (doctor, gate, plugin, plugins, run, runs):
    cli.add_command(command)


def main() -> None:
    """Run the command, and close what it has opened."""
    try:
        cli(prog_name="dspex")
    finally:
        app = default_app.replace(None)
        if app is not None:
            app.close(drain=0)
