"""What `dspex plugin new` writes passes its own tests, installs from its wheel beside the kernel's, and works.

It has a session of its own, `nox -s scaffold`, as it takes half a minute.
"""

import importlib.util
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dspex.cli.main import cli
from dspex.cli.scaffold import KINDS, words

TESTED_BY = ["pytest"]


@pytest.fixture(scope="session")
def projects(tmp_path_factory):
    """A package of each kind, as the command writes it."""
    folder = tmp_path_factory.mktemp("projects")
    for kind in KINDS:
        done = CliRunner().invoke(cli, ["plugin", "new", f"my-{kind}", "--kind", kind, "--into", str(folder)])
        assert done.exit_code == 0, done.output
    return {kind: folder / f"dspex-my-{kind}" for kind in KINDS}


@pytest.fixture(scope="session")
def python(projects, environment_with, tmp_path_factory):
    """The Python of an environment that has the wheels of all of them, and pytest."""
    return environment_with(tmp_path_factory.mktemp("scaffolded"), projects.values(), also=TESTED_BY)


@pytest.fixture
def command(python, bare_run, tmp_path):
    """Runs `dspex ...` there, in an empty folder."""
    return lambda *arguments, **options: bare_run(python.parent / "dspex", *arguments, cwd=tmp_path, **options)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
def test_it_passes_its_own_tests_from_its_wheel(kind, projects, python, bare_run):
    tests = projects[kind] / "tests"
    done = bare_run(python, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "tests", cwd=tests.parent)
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_listed_and_passes_the_check(kind, command):
    names = words(f"my-{kind}", kind)
    rows = {row["name"]: row for row in json.loads(command("plugins", "--json").stdout)}
    assert rows[names["name"]]["status"] == "ok", rows[names["name"]]["error"]
    assert rows[names["name"]]["provides"] == {KINDS[kind].hook: [names["spec"]]}
    told = command("plugins", "check", names["distribution"])
    assert "PROBLEM" not in told.stdout
    assert "It keeps to what can be seen from outside." in told.stdout


def test_all_of_them_together_break_nothing(command):
    assert "Nothing is broken." in command("doctor").stdout


@pytest.fixture
def tool():
    """Runs a checker of sources, which only the session scaffold has."""

    def tool(*words, cwd):
        if importlib.util.find_spec(words[0]) is None:
            pytest.skip(f"{words[0]} is not installed here")
        return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, cwd=cwd)

    return tool


@pytest.mark.parametrize("kind", KINDS)
def test_its_sources_are_formatted_and_without_a_fault(kind, projects, tool):
    for words_ in (["ruff", "format", "--check"], ["ruff", "check"]):
        done = tool(*words_, "--isolated", "--line-length=120", ".", cwd=projects[kind])
        assert done.returncode == 0, done.stdout + done.stderr


def test_their_types_are_strict(projects, tool):
    sources = [str(path / "src") for path in projects.values()]
    done = tool("mypy", "--strict", "--follow-imports=silent", "--exclude=inside.py", *sources, cwd=projects["cache"])
    assert done.returncode == 0, done.stdout + done.stderr
