"""The pages for authors of plugins, followed word by word: shell lines are run, files are written as they stand."""

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
# A shell block, or a file's name in backquotes and a colon, and the block that is its content.
STEP = re.compile(
    r"^```sh\n(?P<shell>.*?)^```$|^`(?P<file>[\w./]+)`:\n\n(?:<!---[^\n]*\n)?(?P<fence>`{3,})\w+\n(?P<content>.*?)^(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)
NO_INDEX = "No matching distribution found for hatchling"
LIMIT_S = 240
# The kits have been run by the page's own `pytest`, and are run over wheels in test_scaffolded.py.
WITHOUT_KIT = ("tests/test_readme.py", "tests/test_smoke.py")


def script(page):
    """What a person would do who follows the page."""
    lines = []
    for step in STEP.finditer(page):
        if step["shell"]:
            lines.append(step["shell"])
        else:
            lines.append(f"cat > {step['file']} <<'END OF THE FILE'\n{step['content']}END OF THE FILE\n")
    return "\n".join(lines)


@pytest.fixture
def follow(environment_with, tmp_path):
    """Follows a page in an environment that has dspex only; gives that environment's Python and the package's folder."""

    def follow(name, folder):
        # A pip that is not the environment's own would have `build` install another one, twice.
        python = environment_with(tmp_path / "environment", [], also=["pip"] if importlib.util.find_spec("pip") else [])
        pip = python.parent / "pip"
        if not pip.exists():
            pip.write_text(f'#!/bin/sh\nexec {python} -m pip "$@"\n')
            pip.chmod(0o755)
        kept = {key: value for key, value in os.environ.items() if not re.match("PYTHON|DSPEX|VIRTUAL_ENV|PYTEST", key)}
        # What pip would compile of each package that it installs, most of which is never imported, is compiled when it is.
        env = {
            **kept,
            "PATH": f"{python.parent}{os.pathsep}{kept['PATH']}",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_COMPILE": "0",
        }
        work = tmp_path / "work"
        work.mkdir()
        done = subprocess.run(
            ["bash", "-eu", "-c", script((DOCS / name).read_text())],
            cwd=work, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S,
        )  # fmt: skip
        if done.returncode and NO_INDEX in done.stderr and not os.environ.get("CI"):
            pytest.skip("there is no package index to install hatchling from")
        assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-5_000:]
        assert " passed" in done.stdout
        assert "It keeps to what can be seen from outside." in done.stdout
        assert done.stdout.count("PASSED") >= 2, "twine has judged the wheel and the sdist"
        return python, work / folder, env

    return follow


def used_from_its_wheel(python, folder, env, tmp_path, own_tests):
    """Install the wheel that was built, in place of the folder, and run the package's tests without its source."""
    [wheel] = (folder / "dist").glob("*.whl")
    (folder / "src").rename(folder / "moved")
    for words in (
        ["pip", "install", "-q", "--no-deps", "--force-reinstall", str(wheel)],
        ["pytest", "-q", "-p", "no:cacheprovider", *own_tests],
    ):
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=LIMIT_S)
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [python.parent / "dspex", "plugins", "--json"], env=env, capture_output=True, text=True, check=True
    )
    return {row["name"]: row["provides"] for row in json.loads(done.stdout)}


@pytest.mark.timeout(300)
def test_an_author_gets_from_nothing_to_a_wheel_by_the_guide(follow, tmp_path):
    python, folder, env = follow("plugins.md", "dspex-acme")
    found = used_from_its_wheel(python, folder, env, tmp_path, WITHOUT_KIT)
    assert found == {"acme": {"lm_providers": ["acme"]}}


@pytest.mark.timeout(300)
def test_the_tutorials_optimizer_is_installed_and_keeps_its_contract(follow, tmp_path):
    python, folder, env = follow("tutorial-optimizer.md", "dspex-climb")
    source = (folder / "src" / "dspex_climb" / "optimizer.py").read_text()
    assert len(source.splitlines()) < 60
    found = used_from_its_wheel(python, folder, env, tmp_path, WITHOUT_KIT)
    assert found == {"climb": {"optimizers": ["Climb"]}}
