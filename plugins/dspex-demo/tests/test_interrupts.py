"""Killed, interrupted, refused by the disk: what is finished stays, and the same command goes on."""

import re
import shutil
import signal
import time
from collections import Counter

import pytest

from dspex.testing import reset

IN_FLIGHT = 4
# Student and winner are judged once more from the cache, which writes what it got in the last hundredth of a second together.
JUST_ENDED = 8


def ended(log):
    """Finished calls, by what was asked."""
    return Counter(line[2:] for line in log.read_text().splitlines() if line[0] == "-")


def began(log):
    return Counter(line[2:] for line in log.read_text().splitlines() if line[0] == "+")


def wait_for(log, calls, process):
    until = time.monotonic() + 20
    while not log.exists() or log.read_text().count("\n") < calls:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="session")
def untouched():
    """Kept over the tests: what an unkilled run saves."""
    return {}


@pytest.fixture
def reference(run_demo, clerk, tmp_path, untouched):
    """The saved program and the number of calls of a run that nobody disturbed."""
    if not untouched:
        provider = clerk("name")
        run_demo(provider, tmp_path / "whole")
        untouched["program"] = (tmp_path / "whole" / "program.json").read_bytes()
        untouched["calls"] = provider.calls
        # What it has paid for is in the cache.
        reset()
        shutil.rmtree(tmp_path / "cache")
    return untouched


@pytest.fixture
def go_on(run_demo, clerk, reference):
    """Runs the demo to its end, in this process, and sees that it ends as if nothing had happened; gives what it prints."""

    def go_on(folder, log):
        out = run_demo(clerk("name", log=log), folder)
        assert sum(began(log).values()) - reference["calls"] <= IN_FLIGHT + JUST_ENDED
        assert (folder / "program.json").read_bytes() == reference["program"]
        return out

    return go_on


@pytest.mark.parametrize("lines", [120, 420])
def test_a_killed_run_goes_on_without_repeating_a_finished_call(start_demo, tmp_path, go_on, lines):
    folder, log = tmp_path / "run", tmp_path / "calls.log"
    process = start_demo(folder, log)
    wait_for(log, lines, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = sum(ended(log).values())
    out = go_on(folder, log)
    if before > IN_FLIGHT + JUST_ENDED:
        [reused] = re.findall(r"calls, (\d+) of them reused and not made again", out)
        assert before - IN_FLIGHT - JUST_ENDED <= int(reused) <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
@pytest.mark.parametrize("lines", [1, 120, 300], ids=["at the first call", "in the middle", "in the judging"])
def test_an_interrupt_ends_soon_says_what_is_kept_and_the_run_goes_on(start_demo, tmp_path, go_on, lines, number):
    folder, log = tmp_path / "run", tmp_path / "calls.log"
    process = start_demo(folder, log)
    wait_for(log, lines, process)
    at = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - at < 2
    assert process.returncode == 130
    assert f"Every finished call is kept in {folder}. This goes on from there:" in err
    assert f"dspex demo --task name --seed 0 --run-dir {folder}" in err
    assert "Traceback" not in err
    go_on(folder, log)


def test_a_second_process_on_the_same_folder_is_refused_in_one_line(start_demo, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "calls.log"
    wait_for(log, 1, start_demo(folder, log, 0.2))
    second = start_demo(folder, tmp_path / "other.log")
    _, err = second.communicate(timeout=30)
    assert second.returncode == 2
    assert re.fullmatch(
        rf"Error: The run folder {folder} is in use by process \d+ on \S+\. Wait for it, .*run_dir\.\n", err
    )
    assert not (tmp_path / "other.log").exists()


def test_a_full_disk_ends_the_run_in_one_line_and_it_goes_on_when_there_is_room(start_demo, tmp_path, go_on):
    folder, log = tmp_path / "run", tmp_path / "calls.log"
    process = start_demo(folder, log, 0.0, 30_000)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2, err
    [line] = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert f"{folder}/journal.jsonl cannot be written" in line
    assert "Traceback" not in err
    assert "of them reused and not made again" in go_on(folder, log)
