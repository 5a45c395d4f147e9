"""Sum up a run of nox in one line, as pytest ends its own: `closing_line.py FOLDER` with the junit reports of the run.

Where nox has left its own record there (it does so at its very end), a session that failed without a failed test counts
as one failed test: a lint that fails, an interpreter that is missing under CI. Ends with 1 if anything failed or no test ran.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

OUTCOMES = ("passed", "failed", "skipped")


def outcomes(report: Path) -> Counter[str]:
    """The tests of one report, by outcome; an error in a fixture is a failed test."""
    counted: Counter[str] = Counter()
    for suite in ET.parse(report).iter("testsuite"):
        tests, failures, errors, skipped = (
            int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
        )
        counted += Counter(failed=failures + errors, skipped=skipped, passed=tests - failures - errors - skipped)
    return counted


def broken_sessions(folder: Path, failing: set[str]) -> list[str]:
    """Sessions that nox records as not successful and that have no failed test to show for it."""
    record = folder / "sessions.json"
    if not record.exists():
        return []
    names = [
        entry["signatures"][0] if entry["signatures"] else entry["name"]
        for entry in json.loads(record.read_text())["sessions"]
        if entry["result"] not in {"success", "skipped"}
    ]
    return [name for name in names if name not in failing and name != "report"]


def main(folder: Path) -> int:
    """Print what ran, a line a session, and the closing line; return the exit status."""
    by_session = {report.stem: outcomes(report) for report in sorted(folder.glob("*.xml"))}
    for name, counted in by_session.items():
        print(f"{name}: {written(counted)}")
    total = sum(by_session.values(), Counter())
    if not by_session:
        print("No test ran.")
        total["failed"] += 1
    broken = broken_sessions(folder, {name for name, counted in by_session.items() if counted["failed"]})
    if broken:
        print(f"Failed beside their tests, each counted as one failed test: {', '.join(broken)}")
        total["failed"] += len(broken)
    print(written(total))
    return 1 if total["failed"] or not total["passed"] else 0


def written(counted: Counter[str]) -> str:
    """`3 passed, 0 failed`, and what was skipped where something was."""
    shown = OUTCOMES if counted["skipped"] else OUTCOMES[:2]
    return ", ".join(f"{counted[outcome]} {outcome}" for outcome in shown)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
