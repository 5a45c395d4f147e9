"""A command line that has the commands of plugins too."""

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from dspex.app.app import current_app
from dspex.core.errors import ConfigurationError, DspexError


class Failure(click.ClickException):
    """One of our errors without its traceback; its exit code tells a wrong request from a bug."""

    exit_code = 2


class Commands(click.Group):
    """Own commands first; plugins are loaded only for a name that is none of these, and for the list of all.

    `own` has by name the module that a command is in: one imports none of the others, which would be a third of its start.
    """

    def __init__(self, *args: Any, own: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.own = own or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.own, *self.commands, *current_app().plugins.names("commands")})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.own:
            command: click.Command = getattr(import_module(self.own[cmd_name]), cmd_name)
            return command
        return self.commands.get(cmd_name) or current_app().plugins.command(cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str, click.Command, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None:
            raise ConfigurationError(
                current_app().plugins.unknown("commands", args[0], own={*self.own, *self.commands})
            )
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
