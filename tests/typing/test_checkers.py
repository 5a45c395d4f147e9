"""What mypy and pyright say of a user's programs: each line of cases/ says what it expects.

`# expect: T` stands beside a reveal_type, `# error` beside what has to be refused; all other lines have to pass.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import dspex

CASES = sorted(Path(__file__).with_name("cases").glob("*.py"))
EXPECTED = re.compile(r"# (?:(error)|expect: (.+))$")
HOME = Path(dspex.__file__).parents[1]

# A checker's first run reads all that dspex stands on.
pytestmark = pytest.mark.timeout(300)

Said = dict[tuple[str, int], set[str]]


def expectations(path: Path) -> Said:
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if match := EXPECTED.search(line):
            found[path.name, number] = {match[1] or match[2]}
    return found


def plain(kind: str) -> str:
    """A type without the modules of its names, and its Literals in one."""
    bare = re.sub(r"\b(?:\w+\.)+(?=\w)", "", kind).replace('"', "'")
    return bare.replace("] | Literal[", ", ")


def said_by_mypy(folder: Path) -> Said:
    found: Said = defaultdict(set)
    # What is installed is found by itself, and mypy refuses to be told of it.
    env = os.environ | ({} if "site-packages" in HOME.parts else {"MYPYPATH": str(HOME)})
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-version=3.11", "--output=json", "--config-file=", folder],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr + done.stdout
    for row in map(json.loads, done.stdout.splitlines()):
        revealed = re.fullmatch(r'Revealed type is "(.*)"', row["message"])
        if revealed or row["severity"] == "error":
            found[Path(row["file"]).name, row["line"]].add(plain(revealed[1]) if revealed else "error")
    return found


def said_by_pyright(folder: Path) -> Said:
    found: Said = defaultdict(set)
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(HOME)], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "--project", folder],
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr + done.stdout
    for row in json.loads(done.stdout)["generalDiagnostics"]:
        revealed = re.fullmatch(r'Type of ".*" is "(.*)"', row["message"], re.DOTALL)
        if revealed or row["severity"] == "error":
            place = Path(row["file"]).name, row["range"]["start"]["line"] + 1
            found[place].add(plain(revealed[1]) if revealed else "error")
    return found


CHECKERS = {"mypy": said_by_mypy, "pyright": said_by_pyright}


@pytest.fixture(scope="module", params=CHECKERS)
def said(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Said:
    if shutil.which(request.param, path=Path(sys.executable).parent) is None:
        missing = f"{request.param} is not installed: nox -s types"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    folder = tmp_path_factory.mktemp(request.param)
    return CHECKERS[request.param](Path(shutil.copytree(CASES[0].parent, folder, dirs_exist_ok=True)))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_checker_says_what_each_line_expects(path, said):
    expected = expectations(path)
    assert expected
    assert {place: kinds for place, kinds in said.items() if place[0] == path.name} == expected
