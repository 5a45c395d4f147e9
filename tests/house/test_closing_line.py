"""The line that ends a whole run tells the truth about it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / ".ci" / "closing_line.py"


def close(folder: Path, sessions: list[dict] | None = None, **reports: str) -> tuple[str, int]:
    """The closing line and the exit status for junit reports, given as attributes of their suites by session."""
    for name, attributes in reports.items():
        (folder / f"{name}.xml").write_text(f"<testsuites><testsuite {attributes}/></testsuites>")
    if sessions is not None:
        (folder / "sessions.json").write_text(json.dumps({"sessions": sessions}))
    done = subprocess.run([sys.executable, PROGRAM, folder], stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.splitlines()[-1], done.returncode


def session(name: str, result: str) -> dict:
    return {"name": name, "signatures": [name], "result": result}


def test_tests_of_all_sessions_are_added(tmp_path):
    counts = 'tests="5" failures="0" errors="0" skipped="1"'
    assert close(tmp_path, kernel=counts, docs=counts) == ("8 passed, 0 failed, 2 skipped", 0)


def test_an_error_in_a_fixture_is_a_failed_test(tmp_path):
    assert close(tmp_path, kernel='tests="3" failures="1" errors="1" skipped="0"') == ("1 passed, 2 failed", 1)


def test_a_run_without_a_test_fails(tmp_path):
    assert close(tmp_path) == ("0 passed, 1 failed", 1)


@pytest.mark.parametrize("result", ["failed", "aborted"])
def test_a_session_that_fails_beside_its_tests_counts_as_one(tmp_path, result):
    sessions = [session("kernel", "success"), session("lint", result), session("report", "failed")]
    assert close(tmp_path, sessions, kernel='tests="3"') == ("3 passed, 1 failed", 1)


def test_a_session_that_fails_by_its_tests_counts_only_these(tmp_path):
    sessions = [session("kernel", "failed")]
    assert close(tmp_path, sessions, kernel='tests="3" failures="2"') == ("1 passed, 2 failed", 1)


def test_a_session_that_was_skipped_fails_nothing(tmp_path):
    sessions = [session("kernel", "success"), session("kernel-3.13", "skipped")]
    assert close(tmp_path, sessions, kernel='tests="3"') == ("3 passed, 0 failed", 0)
