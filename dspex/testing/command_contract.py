"""What every command of a plugin must do, as tests that a plugin's own test class inherits."""

import importlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
from click.testing import CliRunner

from dspex.app.app import App, default_app
from dspex.cli.commands import Commands
from dspex.plugin.catalog import OWN_COMMANDS
from dspex.testing.one_plugin import manager_of

SUBPROCESS_S = 60
SHORT = 80
WRONG_USE = 2


class CommandContract:
    """Subclass it as `TestMine` and give `module`, the plugin's entry point.

    `runs` are command lines that work without a network, a key or a question to the user: `[["acme-hello", "--loud"]]`.
    """

    module = ""
    runs: Sequence[Sequence[str]] = ()

    def commands(self) -> list[click.Command]:
        """What the plugin's hook gives."""
        found: list[click.Command] = importlib.import_module(self.module).dspex_commands()
        return found

    def run(self, *words: str) -> Any:
        """`dspex WORDS...` in this process, with this plugin only: an object with exit_code, stdout, stderr, exception."""
        before = default_app.replace(App(plugins=manager_of("kit", commands=self.commands)))
        try:
            return CliRunner().invoke(Commands("dspex"), list(words), prog_name="dspex")
        finally:
            made = default_app.replace(before)
            if made is not None:
                made.close(drain=0)

    def test_each_command_has_a_name_and_says_what_it_does(self) -> None:
        commands = self.commands()
        assert commands, "the hook gives no command"
        for words, command in every(commands):
            assert command.name, words
            assert command.get_short_help_str(SHORT), f"`dspex {words}` says nowhere what it does: give it a docstring"

    def test_its_names_are_free(self) -> None:
        names = [str(command.name) for command in self.commands()]
        assert len(set(names)) == len(names), f"a name twice: {names}"
        taken = sorted({*names} & OWN_COMMANDS)
        assert not taken, f"these are dspex's own: {taken}"

    def test_the_hook_gives_the_same_again_and_loads_nothing_before(self) -> None:
        assert [one.name for one in self.commands()] == [one.name for one in self.commands()]
        loaded = f"import sys, {self.module}; print('click' in sys.modules)"
        done = subprocess.run(  # noqa: S603  the kit's own line
            [sys.executable, "-c", loaded], capture_output=True, text=True, timeout=SUBPROCESS_S, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "False", f"{self.module} imports click at its top: import it inside the hook"

    def test_dspex_lists_it_and_shows_its_help(self) -> None:
        listed = self.run("--help")
        assert listed.exit_code == 0, listed.output
        for words, command in every(self.commands()):
            shown = self.run(*words.split(), "--help")
            assert shown.exit_code == 0, shown.output
            assert "Usage:" in shown.stdout
            assert not command.deprecated or "eprecated" in shown.stdout
        assert all(str(command.name) in listed.stdout for command in self.commands())

    def test_a_wrong_use_is_told_without_a_traceback(self) -> None:
        for words, _ in every(self.commands()):
            told = self.run(*words.split(), "--no-such-option-of-the-kit")
            assert told.exit_code == WRONG_USE, f"`dspex {words}` ends with {told.exit_code} after an option it has not"
            assert isinstance(told.exception, SystemExit), repr(told.exception)
            assert told.stderr, f"`dspex {words}` says nothing"

    def test_what_it_says_it_runs_runs(self) -> None:
        for words in self.runs:
            done = self.run(*words)
            assert done.exit_code == 0, f"dspex {' '.join(words)}: {done.output}{done.exception!r}"


def every(commands: Sequence[click.Command], before: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands and what is below them, with the words that call each."""
    for command in commands:
        words = f"{before}{command.name}"
        yield words, command
        if isinstance(command, click.Group):
            yield from every(list(command.commands.values()), f"{words} ")
