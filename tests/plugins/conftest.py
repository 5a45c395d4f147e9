"""Plugins that exist in memory only, and one bare environment with real ones."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import dspex
from dspex.app.app import default_app
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source

ROOT = Path(__file__).parents[2]
THIRD_PARTY = Path(__file__).parent / "third_party"


@pytest.fixture(autouse=True)
def no_limits_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person who runs the tests has set for own programs."""
    for variable in ("DSPEX_PLUGINS", "DSPEX_PREFER", "DSPEX_DEBUG", "OPENAI_API_KEY"):
        # Set and deleted, so that what a command line adds is gone afterwards.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


@pytest.fixture
def plugin() -> Callable[..., Source]:
    """Makes a plugin of hooks: `plugin("acme", lm_providers=lambda: [...])`; `load=` is what its import does."""

    def make(name: str, load: Callable[[], Any] | None = None, **hooks: Callable[..., Any]) -> Source:
        module = SimpleNamespace(**{f"dspex_{hook}": dspex.hookimpl(function) for hook, function in hooks.items()})
        return Source(name, load or (lambda: module), f"{name}-dist", "1.2")

    return make


@pytest.fixture
def install() -> Callable[..., PluginManager]:
    """Makes an App with these plugins, and nothing else, the default one."""

    def make(*sources: Source, import_limit_s: float = 0.2, **options: Any) -> PluginManager:
        manager = PluginManager(lambda: sources, import_limit_s=import_limit_s, **options)
        default_app.replace(dspex.App(plugins=manager))
        return manager

    return make


@pytest.fixture
def command():
    """Runs `dspex ...` in this process, with its two outputs apart."""
    from dspex.cli.main import cli

    return lambda *arguments: CliRunner().invoke(cli, list(arguments), prog_name="dspex")


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment: the kernel's wheel, what it depends on, and the two packages of third_party/."""
    folder = tmp_path_factory.mktemp("bare")
    return environment(folder, [THIRD_PARTY / name for name in ("acme", "lemon")])


@pytest.fixture(scope="session")
def environment_with() -> Callable[..., Path]:
    """Makes an environment that has the kernel's wheel and those of some projects (`environment`)."""
    return environment


def environment(folder: Path, projects: Iterable[Path], also: Iterable[str] = ()) -> Path:
    """The Python of a new environment in `folder`: the kernel's wheel, those of `projects`, what all these depend on, and `also`."""
    wheels = built(folder, projects)
    # The pip of this environment, where it has one, works in the other too: to install another takes 5 s.
    has_pip = importlib.util.find_spec("pip") is not None
    venv.create(folder / "venv", with_pip=not has_pip, symlinks=True)
    python = folder / "venv" / "bin" / "python"
    [site] = (folder / "venv").glob("lib/python*/site-packages")
    for entry in needed_by(*wheels, also=also):
        (site / entry.name).symlink_to(entry)
    pip = [sys.executable, "-m", "pip", "--python", python] if has_pip else [python, "-m", "pip"]
    # Without an index: what pip does not find installed, the wheel has not declared and fails here.
    # Each program compiles what it imports.
    run(*pip, "install", "--no-index", "--no-compile", "--disable-pip-version-check", "--quiet", *wheels)
    return python


@pytest.fixture(scope="session")
def bare_run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program as a new user would (`run`)."""
    return run


# As pip calls hatchling, for one project after another.
BUILD = """
import os, sys
from hatchling.build import build_wheel

_, out, *projects = sys.argv
for project in projects:
    os.chdir(project)
    build_wheel(out)
"""


def built(folder: Path, projects: Iterable[Path]) -> list[Path]:
    """The wheel of the kernel, that nox has built or one of this checkout, and those of these projects."""
    if importlib.util.find_spec("hatchling") is None:
        message = "hatchling is missing: it builds the wheels of this test"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    kernel = sorted(Path(os.environ.get("DSPEX_WHEELS", folder / "none")).glob("dspex-*.whl"))[:1]
    run(sys.executable, "-c", BUILD, folder / "wheels", *projects, *(() if kernel else [ROOT]))
    return [*kernel, *(folder / "wheels").glob("*.whl")]


def needed_by(*wheels: Path, also: Iterable[str] = ()) -> list[Path]:
    """Files and folders of all that wheels depend on, beside the kernel, and of `also`, as they lie in this environment."""
    waiting = [*also]
    for wheel in wheels:
        waiting += required(importlib.metadata.PathDistribution(_metadata_of(wheel)))
    found: dict[str, set[Path]] = {"dspex": set()}
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
        found[name] = {Path(str(distribution.locate_file(top))) for top in tops}
        waiting += required(distribution)
    return sorted(set().union(*found.values()))


def required(distribution: importlib.metadata.Distribution) -> list[str]:
    """Names of what a distribution depends on here, without extras."""
    from packaging.requirements import Requirement

    wanted = map(Requirement, distribution.requires or ())
    return [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def _metadata_of(wheel: Path) -> Any:
    import zipfile

    archive = zipfile.Path(wheel)
    [info] = [entry for entry in archive.iterdir() if entry.name.endswith(".dist-info")]
    return info


def run(*command: object, cwd: Path | None = None, ok: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a new user would: no paths of this environment, no settings of dspex."""
    kept = {name: value for name, value in os.environ.items() if not re.match("PYTHON|DSPEX|VIRTUAL_ENV", name)}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not ok or done.returncode == 0, done.stdout + done.stderr
    return done
