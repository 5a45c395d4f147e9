"""Processes that are killed, frozen or stuck, coordinators that are killed, and what is left of them."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dspex
from dspex.plugin import ConfigurationError, Task
from dspex.testing.errands import Acts, Computes, Doubles, acts, ended, notes, questions, right
from dspex.testing.executor_contract import THREADS, chunk, compiled, evaluated, taken, until
from dspex_processes.executor import WORKERS, ProcessExecutor

COORDINATOR = Path(__file__).with_name("coordinator.py")


@pytest.fixture
async def executor():
    """Two workers, in an App of the test's own."""
    async with ProcessExecutor({"workers": 2}) as executor, dspex.App(cache=False):
        yield executor


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# Workers


@pytest.mark.fault("P21")
async def test_workers_are_killed_at_random_and_the_evaluation_ends_as_if_nothing_had_happened(tmp_path):
    log = tmp_path / "calls"
    async with ProcessExecutor({"workers": 4}) as executor, dspex.App(cache=False):
        here = await dspex.Evaluate(questions(150), right).acall(Doubles())
        evaluate = dspex.Evaluate(questions(150, log), right, num_threads=THREADS)
        running = asyncio.create_task(evaluate.acall(Doubles(), executor=executor))
        await until(lambda: len(executor.pids) == 4)
        # One that is begun later may try again what the first died of: to die there too is the example's fault.
        doomed = random.Random(5).sample(executor.pids, 3)
        for least, pid in zip((10, 60, 110), doomed, strict=True):
            await until(lambda least=least: len(notes(log)) >= least)
            os.kill(pid, signal.SIGKILL)
        there = await running
    assert not [row.error for row in there.rows if row.error]
    assert [row.score for row in there.rows] == [row.score for row in here.rows]
    assert len(notes(log)) <= 150 + 3 * THREADS, "more was repeated than was in the hands of those that died"


@pytest.mark.fault("P21")
async def test_a_frozen_worker_is_killed_and_replaced(tmp_path):
    async with ProcessExecutor({"workers": 1, "silence_s": 4.0}) as executor, dspex.App(cache=False):
        await evaluated(executor, acts(("echo", "a")))
        (frozen,) = executor.pids
        os.kill(frozen, signal.SIGSTOP)
        assert (await evaluated(executor, acts(("echo", "b")))).score == 100
        assert not lives(frozen)
        assert executor.pids != [frozen]


async def test_a_task_that_a_worker_dies_of_says_how_it_ended(executor, tmp_path):
    told = Task("a", "step", {"act": "die", "value": str(tmp_path / "died")})
    *_, lost = await taken(executor, [chunk(Acts(), told)])
    assert lost.state == "lost"
    assert f"it ended with status {-signal.SIGKILL}" in lost.fault.message


async def test_a_program_that_computes_and_is_cancelled_takes_its_worker_with_it_and_no_more(executor, tmp_path):
    log = tmp_path / "computing"
    devset = [dspex.Example(rounds=10**10, log=str(log)).with_inputs("rounds", "log")]
    running = asyncio.create_task(dspex.Evaluate(devset, ended).acall(Computes(), executor=executor))
    await until(lambda: bool(notes(log)))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await until(lambda: not lives(int(notes(log)[0])))
    assert (await evaluated(executor, acts(("echo", "b")))).score == 100


async def test_workers_are_begun_when_there_is_work_and_no_more_than_asked_for(executor):
    assert executor.pids == []
    await evaluated(executor, acts(("echo", "a")))
    assert len(executor.pids) == 1
    await evaluated(executor, acts(*[("echo", str(n)) for n in range(40)]))
    assert len(executor.pids) == 2


def test_a_script_that_closes_nothing_leaves_no_process(tmp_path):
    program = """
import sys
import dspex
from dspex.testing.errands import Acts, acts, ended
told = acts(("pid", "a"), ("echo", "b"))
print(*(row.prediction.value for row in dspex.Evaluate(told, ended)(Acts(), executor="processes").rows))
"""
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    pid, said = done.stdout.split()
    assert (done.returncode, said, done.stderr) == (0, "b", "")
    while lives(int(pid)):
        time.sleep(0.01)


# Coordinators


@pytest.mark.fault("P01")
@pytest.mark.fault("R4")
@pytest.mark.timeout(240)
def test_a_killed_coordinator_leaves_no_worker_and_its_run_goes_on_to_the_same_program(tmp_path):
    rng = random.Random(11)
    log = tmp_path / "calls"
    whole, expected = asyncio.run(_finished(tmp_path / "whole", log))
    for kill in range(4):
        folder, before = tmp_path / f"run {kill}", len(notes(log))
        first = subprocess.Popen([sys.executable, COORDINATOR, folder, log])
        least = before + rng.randrange(1, whole)
        while len(notes(log)) < least and first.poll() is None:
            time.sleep(0.002)
        first.kill()
        first.wait()
        workers = set(map(int, notes(tmp_path / "pids")))
        assert workers
        while any(map(lives, workers)):
            time.sleep(0.01)
        made = len(notes(log)) - before
        _, program = asyncio.run(_goes_on(folder, log))
        assert program == expected
        repeated = len(notes(log)) - before - whole
        assert 0 <= repeated <= THREADS, (made, repeated)


async def _goes_on(folder, log):
    async with ProcessExecutor({"workers": 2}) as executor:
        return await _finished(folder, log, executor=executor)


async def _finished(folder, log, **options):
    """The calls that it paid, and what was saved."""
    async with dspex.App(cache=False):
        program = await compiled(folder, log, **options)
        program.save(folder / "program.json")
        return program.ledger.paid, (folder / "program.json").read_bytes()


# Options


@pytest.mark.parametrize(
    "options",
    [{"workers": 0}, {"workers": "two"}, {"silence_s": -1}, {"worker": 2}],
    ids=["none", "word", "negative", "name"],
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ConfigurationError, match="ProcessExecutor"):
        ProcessExecutor(options)


@pytest.mark.parametrize("given", ["0", "many"])
def test_a_wrong_number_of_workers_in_the_environment_is_refused(given, monkeypatch):
    monkeypatch.setenv(WORKERS, given)
    with pytest.raises(ConfigurationError, match=WORKERS):
        ProcessExecutor()
