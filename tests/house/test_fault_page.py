"""Each row of the fault table has a test or a note, and docs/faults.md says what the tests say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = """
[N]
title = "Network"
N01 = ["refused", "an error"]
N02 = ["no such name", "an error"]
[elsewhere]
N02 = "Not offered yet."
"""


def run(*arguments):
    command = [sys.executable, ROOT / ".ci" / "fault_page.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def house(tmp_path):
    """A checkout with two rows and one marked test; more files are given as texts by path."""

    def house(**tests):
        files = {
            "tests/faults/rows.toml": ROWS,
            "docs/faults.md": "",
            **{f"tests/test_{n}.py": t for n, t in tests.items()},
        }
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return house


MARKED = '@pytest.mark.fault("N01")\nasync def test_a_refusal_is_an_error():\n    pass\n'


def test_the_page_of_faults_is_what_the_tests_say():
    done = run("--check")
    assert done.returncode == 0, done.stdout


def test_a_row_has_its_tests_in_words_and_its_note(house):
    root = house(a=MARKED)
    assert run("--check", root).returncode == 1
    assert run(root).returncode == 0
    page = (root / "docs/faults.md").read_text()
    assert "| N01 | refused | an error | a refusal is an error (`tests/test_a.py`) |" in page
    assert "| N02 | no such name | an error | Not offered yet. |" in page
    assert run("--check", root).returncode == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "N01 has no test"),
        (MARKED + MARKED.replace("N01", "N03"), "N03 is a mark of no row"),
        ("CASES = [pytest.param(1, marks=pytest.mark.fault('N01'))]", "not in a test's decorators"),
        (MARKED.replace('"N01"', "NAME"), "write a fault's id as a text"),
    ],
    ids=["no test", "no row", "no decorator", "no text"],
)
def test_what_cannot_be_shown_is_said(house, text, says):
    done = run(house(a=text))
    assert done.returncode == 1
    assert says in done.stdout
