"""`dspex plugin new` writes a package, or says why it cannot. That it works: tests/plugins/scaffolded."""

import ast
import tomllib

import pytest
from click.testing import CliRunner

from dspex.cli.main import cli
from dspex.cli.scaffold import KINDS
from dspex.plugin import hookspecs
from dspex.plugin.catalog import KIND_WORDS


@pytest.fixture
def new(tmp_path):
    """Runs `dspex plugin new`."""
    return lambda *words: CliRunner().invoke(cli, ["plugin", "new", *words, "--into", str(tmp_path)])


def test_there_is_a_kind_for_each_hook():
    hooks = {name.removeprefix("dspex_") for name in vars(hookspecs) if name.startswith("dspex_")}
    assert hooks == KIND_WORDS.keys()
    assert {kind.hook for kind in KINDS.values()} == hooks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["acme", "dspex-acme-two", "a1"])
def test_a_package_has_all_its_parts_and_no_placeholder(kind, name, new, tmp_path):
    assert new(name, "--kind", kind).exit_code == 0
    short = name.removeprefix("dspex-")
    folder, package = tmp_path / f"dspex-{short}", f"dspex_{short.replace('-', '_')}"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "noxfile.py", ".gitignore", "py.typed"} <= {
        path.name for path in files
    }
    texts = {path: path.read_text() for path in files}
    assert not [path for path, text in texts.items() if "$" in text and path.suffix != ".md"]
    for path, text in texts.items():
        if path.suffix == ".py":
            ast.parse(text)
    project = tomllib.loads(texts[folder / "pyproject.toml"])["project"]
    assert project["name"] == f"dspex-{short}"
    assert project["entry-points"] == {"dspex": {short: package}}
    assert project["dependencies"][0] == "dspex>=0.1"
    assert (folder / "src" / package / "__init__.py").exists()


def test_it_says_what_to_do_next(new, tmp_path):
    told = new("acme", "--kind", "cache").output
    assert f"cd {tmp_path / 'dspex-acme'}" in told
    assert "dspex plugins check acme" in told


@pytest.mark.parametrize(
    "name", ["", "Acme", "acme_two", "2acme", "acme-", "a--b", "../acme", "acme two", "acmé", "dspex-", "a/b"]
)
def test_a_name_that_cannot_be_one_is_refused(name, new, tmp_path):
    told = new(name, "--kind", "cache")
    assert told.exit_code == 2
    assert "is no name for a plugin" in told.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_written_over(new, tmp_path):
    new("acme", "--kind", "cache")
    (tmp_path / "dspex-acme" / "README.md").write_text("mine")
    told = new("acme", "--kind", "adapter")
    assert told.exit_code == 2
    assert "is there already" in told.stderr
    assert (tmp_path / "dspex-acme" / "README.md").read_text() == "mine"


def test_a_name_that_a_package_of_ours_offers_is_told(new):
    assert "The name is that of dspex-openai" in new("openai", "--kind", "provider").output


@pytest.mark.parametrize("kind", ["hammer", ""])
def test_a_kind_that_does_not_exist_is_refused_with_those_that_do(kind, new):
    told = new("acme", "--kind", kind)
    assert told.exit_code == 2
    assert "'provider'" in told.stderr


@pytest.mark.parametrize("name", ["class", "import", "async", "true"])
def test_a_word_of_python_is_a_name_too(name, new, tmp_path):
    assert new(name, "--kind", "command").exit_code == 0
    for path in (tmp_path / f"dspex-{name}").rglob("*.py"):
        ast.parse(path.read_text())
