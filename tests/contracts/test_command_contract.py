"""The kit for commands: a good one passes all of it, and each kind of bad one fails the test that is about it."""

import sys

import click
import pytest

from dspex.testing.command_contract import CommandContract

TESTS = [name for name in vars(CommandContract) if name.startswith("test_")]

GOOD = '''
def dspex_commands():
    import click

    @click.group()
    def fruit():
        """Fruit of all kinds."""

    @fruit.command()
    @click.option("--many", default=1, help="How many.")
    def lemon(many):
        """Squeeze lemons."""
        click.echo("lemon " * many)

    return [fruit]
'''
NO_HELP = GOOD.replace('"""Squeeze lemons."""', "")
TAKEN = GOOD.replace("def fruit():", "def doctor():").replace("@fruit.", "@doctor.").replace("[fruit]", "[doctor]")
TWICE = GOOD.replace("[fruit]", "[fruit, fruit]")
NONE = "def dspex_commands():\n    return []\n"
HEAVY = "import click\n" + GOOD
OTHER_EACH_TIME = "import itertools\nN = itertools.count()\n" + GOOD.replace(
    "return [fruit]", "fruit.name = f'fruit{next(N)}'\n    return [fruit]"
)
ENDS_OTHERWISE = (
    GOOD.replace('@click.option("--many", default=1, help="How many.")', "")
    .replace("def lemon(many):", "def lemon():")
    .replace(
        "@fruit.command()",
        "@fruit.command(context_settings={'ignore_unknown_options': True, 'allow_extra_args': True})",
    )
)
HELP_FAILS = GOOD.replace(
    "return [fruit]",
    "def fail(ctx, formatter): raise KeyError('help')\n    lemon.format_usage = fail\n    return [fruit]",
)
RUN_FAILS = GOOD.replace('click.echo("lemon " * many)', "raise OSError('no lemons')")


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """The kit of a plugin with that source."""

    def kit(source):
        (tmp_path / "kit_fruit.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.delitem(sys.modules, "kit_fruit", raising=False)

        class Kit(CommandContract):
            module = "kit_fruit"
            runs = (["fruit", "lemon", "--many", "2"],)

        return Kit()

    return kit


@pytest.mark.parametrize("name", TESTS)
def test_a_good_command_passes(kit, name):
    getattr(kit(GOOD), name)()


@pytest.mark.parametrize(
    ("source", "about"),
    [
        pytest.param(NONE, "says_what_it_does", id="none"),
        pytest.param(NO_HELP, "says_what_it_does", id="no help"),
        pytest.param(TAKEN, "names_are_free", id="taken"),
        pytest.param(TWICE, "names_are_free", id="twice"),
        pytest.param(HEAVY, "loads_nothing", id="heavy"),
        pytest.param(OTHER_EACH_TIME, "same_again", id="other each time"),
        pytest.param(HELP_FAILS, "shows_its_help", id="help fails"),
        pytest.param(ENDS_OTHERWISE, "wrong_use", id="takes anything"),
        pytest.param(RUN_FAILS, "runs_runs", id="run fails"),
    ],
)
def test_a_bad_command_fails_the_test_that_is_about_it(kit, source, about):
    [name] = [name for name in TESTS if about in name]
    with pytest.raises(AssertionError):
        getattr(kit(source), name)()


def test_the_words_of_a_group_reach_its_commands(kit):
    done = kit(GOOD).run("fruit", "lemon", "--many", "2")
    assert done.stdout == "lemon lemon \n"
    assert isinstance(kit(GOOD).commands()[0], click.Group)
