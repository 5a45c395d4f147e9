"""A run whose calls wait for batches: parked meanwhile, killed, and gone on with, without paying for one twice."""

import asyncio
import importlib.util
import json
import signal
import sys
from pathlib import Path

import pytest

import dspex
from dspex.runtime.journal import FILE, replay
from dspex.runtime.records import Batched
from dspex.testing import VirtualClock, simulate

MAILROOM = Path(__file__).with_name("mailroom.py")
_spec = importlib.util.spec_from_file_location("mailroom", MAILROOM)
assert _spec is not None
assert _spec.loader is not None
mailroom = importlib.util.module_from_spec(_spec)
sys.modules["mailroom"] = mailroom
_spec.loader.exec_module(mailroom)


def simulated(room, **options):
    async def main():
        async with dspex.App(clock=VirtualClock()):
            return await mailroom.compiled(room, **options)

    return simulate(main)[0]


def test_a_wave_is_one_batch(tmp_path):
    room = mailroom.Mailroom(tmp_path)
    program = simulated(room, run_dir=tmp_path / "run")
    assert room.batches() == [12, 36]
    assert program.ledger.calls == 48


@pytest.fixture(scope="module")
def killed(warm, tmp_path_factory):
    """What became of compiles that were killed before their batch was known, and while they waited for it."""
    folder = tmp_path_factory.mktemp("kills")
    # In the way of `-W error`, which the program that is forked was not started with.
    strict = "import warnings; warnings.simplefilter('error')\n"
    started = f"import runpy; runpy.run_path({str(MAILROOM)!r}, run_name='__main__')"
    done = warm.run("-c", strict + started, folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    return {tuple(row["point"]): row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize(
    ("point", "said"),
    [
        (("start", 1), ["start", "status", "status", "results", "start", "status", "results"]),
        (("status", 1), ["status", "status", "results", "start", "status", "results"]),
        (("results", 1), ["status", "status", "results", "start", "status", "results"]),
        (("start", 2), ["start", "status", "status", "results"]),
        (("status", 3), ["status", "status", "results"]),
    ],
    ids=["before its id is known", "before the first look", "before its results", "in the second", "as it waits"],
)
def test_a_killed_run_asks_for_its_batch_again_and_sends_nothing_twice(killed, point, said):
    row, whole = killed[point], killed["never", 0]
    assert (row["killed"], row["ended"]) == (-signal.SIGKILL, 0)
    assert row["said"] == said
    assert row["batches"] == whole["batches"] == [12, 36]
    assert row["program"] == whole["program"]
    assert row["calls"] == row["paid"] == 48


def test_calls_in_a_batch_are_not_lost(killed):
    assert killed["status", 1]["lost"] == killed["status", 3]["lost"] == 0


def test_the_batch_is_in_the_journal_before_the_first_look(tmp_path):
    known = []

    async def before(what, number):
        if what == "status" and number == 1:
            records, _ = replay((tmp_path / "run" / FILE).read_bytes())
            known.extend(len(record.ids) for record in records if isinstance(record, Batched))

    simulated(mailroom.Mailroom(tmp_path, before), run_dir=tmp_path / "run")
    assert known == [12]


def test_a_job_whose_calls_all_wait_is_parked_and_may_be_left(tmp_path):
    seen = []

    async def main():
        async with dspex.App(clock=VirtualClock()):
            room = mailroom.Mailroom(tmp_path, looks=10_000)
            data = {"trainset": mailroom.examples(4), "valset": mailroom.examples(12, 100), "holdout": 0}
            with dspex.context(lm=room.lm):
                job = mailroom.TwoWaves().start(dspex.Predict("question -> answer"), **data, run_dir=tmp_path / "run")
            await asyncio.sleep(600.0)
            seen.append(job.status)
            job.abort()
            with pytest.raises(asyncio.CancelledError):
                await job
            seen.append(room.said.count("cancel"))

    simulate(main)
    assert seen == ["parked", 0]
    room = mailroom.Mailroom(tmp_path)
    assert simulated(room, run_dir=tmp_path / "run").ledger.calls == 48
    assert room.batches() == [12, 36]


def test_a_run_that_is_cancelled_returns_the_best_so_far_and_keeps_its_batch(tmp_path):
    async def main():
        async with dspex.App(clock=VirtualClock()):
            room = mailroom.Mailroom(tmp_path, looks=10_000)
            data = {"trainset": mailroom.examples(4), "valset": mailroom.examples(12, 100), "holdout": 0}
            with dspex.context(lm=room.lm):
                job = mailroom.TwoWaves().start(dspex.Predict("question -> answer"), **data, run_dir=tmp_path / "run")
            await asyncio.sleep(600.0)
            job.cancel(grace=1.0)
            return await job

    program = simulate(main)[0]
    assert program.demos == []
