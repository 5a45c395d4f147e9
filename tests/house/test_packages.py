"""Packages of plugins/ and contrib/ have one shape, and stand alone."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for group in ("plugins", "contrib") for path in ROOT.glob(f"{group}/*/pyproject.toml"))
SMOKE = {"plugins": ["tests/test_smoke.py"], "contrib": []}

each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)


def metadata(package: Path) -> dict:
    return tomllib.loads((package / "pyproject.toml").read_text())


def imported(path: Path) -> set[str]:
    """The top-level packages that a source file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in names}


@each_package
def test_a_package_has_all_its_parts(package):
    source = f"src/{package.name.replace('-', '_')}"
    parts = ["README.md", "CHANGELOG.md", f"{source}/__init__.py", f"{source}/py.typed", "tests"]
    missing = [part for part in parts + SMOKE[package.parent.name] if not (package / part).exists()]
    assert not missing


@each_package
def test_a_package_brings_its_licence_and_says_which_pythons_it_is_for(package):
    assert (package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "Programming Language :: Python :: 3.11" in metadata(package)["project"]["classifiers"]


@each_package
def test_a_package_depends_on_dspex_by_a_lower_bound(package):
    dependencies = metadata(package)["project"]["dependencies"]
    assert any(line.startswith("dspex>=") and "," not in line for line in dependencies)


@each_package
def test_tool_settings_stand_in_the_root_only(package):
    assert set(metadata(package)["tool"]) <= {"hatch"}


@each_package
def test_a_package_imports_no_other_plugin(package):
    others = {path.name.replace("-", "_") for path in PACKAGES} - {package.name.replace("-", "_")}
    wrong = {path.name: names for path in (package / "src").rglob("*.py") if (names := imported(path) & others)}
    assert not wrong


def test_the_tested_set_names_versions_and_no_addresses():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    wrong = [line for line in lines if line.count("==") != 1 or set(line) & set("/@ ;")]
    assert not wrong
