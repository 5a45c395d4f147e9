"""A compile that ends early goes on where it was, pays for nothing twice, and ends as if nothing had happened."""

import asyncio
import concurrent.futures
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

import dspex
from dspex.app.app import App
from dspex.runtime.journal import FILE, Journal


@pytest.fixture(scope="module")
def killed(tmp_path_factory, request):
    """What became of 60 compiles that were killed, half of them with a torn journal."""
    folder = tmp_path_factory.mktemp("kills")
    command = [sys.executable, "-W", "error", str(request.path.with_name("lab.py")), str(folder), "60", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class Whole(NamedTuple):
    """A run of the lab's search that nothing has disturbed: its folder, its program's file, and how many calls it paid."""

    folder: Path
    program: bytes
    paid: int


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an interrupted run must come to. Its folder is for looking at."""
    folder, lab = tmp_path_factory.mktemp("whole"), sys.modules["lab"]

    async def main():
        async with App():
            program = await lab.compiled(lab.Model(), run_dir=folder / "run")
            return Whole(folder / "run", lab.saved(program, folder), program.ledger.paid)

    return asyncio.run(main())


# 8 s of one processor; where eight share it, more than a test has.
patient = pytest.mark.timeout(180)


@pytest.mark.slow
@patient
@pytest.mark.fault("P01")
@pytest.mark.fault("R4")
def test_a_killed_compile_saves_the_same_bytes_as_a_whole_one(killed):
    assert len(killed) == 60
    assert {run["killed"] for run in killed} == {-signal.SIGKILL}
    assert [run for run in killed if run["ended"] or not run["same"]] == []


@pytest.mark.slow
@patient
@pytest.mark.fault("P01")
@pytest.mark.fault("R4")
def test_a_kill_costs_no_more_than_the_calls_in_flight(killed):
    # A torn line may take a step with it, whose calls are answered from the journal, or one finished call.
    assert [run for run in killed if not 0 <= run["repeated"] <= 8 + bool(run["torn"])] == []


async def test_a_finished_run_is_repeated_without_a_call(lab, app, tmp_path):
    first, second = lab.Model(), lab.Model()
    program = await lab.compiled(first, run_dir=tmp_path / "run")
    again = await lab.compiled(second, run_dir=tmp_path / "run")
    assert second.prompts == []
    assert lab.saved(again, tmp_path) == lab.saved(program, tmp_path)
    assert again.ledger.reused == program.ledger.paid == len(first.prompts)
    assert again.ledger.calls == program.ledger.calls
    assert (again.ledger.paid, again.ledger.lost) == (0, 0)


async def test_a_larger_budget_and_another_concurrency_go_on_with_the_same_run(lab, whole, app, tmp_path):
    short = dspex.Budget(calls=40, on_short="stop")
    stopped = await lab.compiled(lab.Model(), run_dir=tmp_path / "run", budget=short, num_threads=3)
    assert stopped.evidence.stopped == "budget"
    model = lab.Model()
    program = await lab.compiled(model, run_dir=tmp_path / "run", num_threads=20)
    assert lab.saved(program, tmp_path) == whole.program
    assert len(model.prompts) == whole.paid - stopped.ledger.paid


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda lab: {"optimizer": lab.Search(want=3)}, "optimizer differs"),
        (lambda lab: {"optimizer": lab.Search(metric=lambda example, prediction: 1)}, "metric differs"),
        (lambda lab: {"sets": 2}, "arguments"),
        (lambda lab: {"trainset": lab.examples(19)}, "trainset"),
        (lambda lab: {"valset": lab.examples(15, 100)}, "valset"),
        (lambda lab: {"seed": 1}, r"seed \(0 then, 1 now\)"),
    ],
    ids=["constructor", "metric", "argument", "trainset", "valset", "seed"],
)
@pytest.mark.fault("P05")
async def test_a_folder_of_another_run_is_refused_with_what_differs(lab, whole, app, changed, named):
    before = (whole.folder / FILE).read_bytes()
    model = lab.Model()
    with pytest.raises(dspex.JournalError, match=f"belongs to another run: .*{named}"):
        await lab.compiled(model, run_dir=whole.folder, **changed(lab))
    assert (whole.folder / FILE).read_bytes() == before
    assert model.prompts == []


async def test_another_student_or_model_is_another_run(lab, whole, app):
    with dspex.context(lm=dspex.LM("other", provider=lab.Model(), cache=False)):
        student = dspex.Predict(dspex.Signature("question -> answer", "Double it."))
        with pytest.raises(dspex.JournalError, match="student differs; language model and adapter differs"):
            await lab.Search().acompile(student, run_dir=whole.folder, **lab.DATA)


async def test_an_algorithm_that_ends_otherwise_the_second_time_is_named(lab, app, tmp_path):
    class Moody(lab.Search):
        _runs = 0

        async def run(self, ctx):
            self._runs += 1
            demos = (dspex.Demo(ctx.train[0].toDict()),) * self._runs
            return ctx.consider(ctx.student.with_demos({"self": demos}), "mood")

    moody = Moody()
    await lab.compiled(lab.Model(), optimizer=moody, run_dir=tmp_path / "run")
    with pytest.warns(RuntimeWarning, match="Moody is not deterministic"):
        await lab.compiled(lab.Model(), optimizer=moody, run_dir=tmp_path / "run")


def test_the_order_of_hashes_does_not_change_the_program(lab, tmp_path, request):
    processes = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        command = [sys.executable, str(request.path.with_name("lab.py")), str(tmp_path / seed), "0", seed]
        processes.append(subprocess.Popen(command, env={**os.environ, "PYTHONHASHSEED": seed}))
    assert [process.wait(60) for process in processes] == [0, 0]
    one, two = (tmp_path / seed / "whole" / "program.json" for seed in ("1", "2"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.fault("P08")
async def test_a_run_that_is_going_on_is_not_run_twice(lab, app, tmp_path):
    with dspex.context(lm=lab.Model().lm):
        job = lab.Search().start(dspex.Predict("question -> answer"), run_dir=tmp_path / "run", **lab.DATA)
        with pytest.raises(dspex.JournalError, match=f"in use by process {os.getpid()} on "):
            await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
        await job


async def test_a_run_without_a_folder_gets_one_below_the_runs(lab, app):
    program = await lab.compiled(lab.Model())
    assert program.ledger.run_dir.startswith(os.environ["DSPEX_RUNS_DIR"])
    assert "Search" in program.ledger.run_dir


async def test_a_tilde_is_the_home_of_the_user(lab, app, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    program = await lab.compiled(lab.Model(), run_dir="~/run", **lab.SMALL)
    assert (tmp_path / "run" / FILE).is_file()
    assert dspex.Job.open("~/run").result(dspex.Predict("question -> answer")).dump_state() == program.dump_state()
    forked = await lab.compiled(again := lab.Model(), run_dir="~/forked", fork="~/run", **lab.SMALL)
    assert (again.prompts, forked.dump_state()) == ([], program.dump_state())
    warm = await lab.compiled(lab.Model(), warm_start="~/run", **lab.SMALL)
    assert "warm start 1" in {one["label"] for one in warm.candidate_programs}
    monkeypatch.setenv("DSPEX_RUNS_DIR", "~/runs")
    assert (await lab.compiled(lab.Model(), **lab.SMALL)).ledger.run_dir.startswith(f"{tmp_path}/runs")
    assert not (tmp_path / "~").exists()


@pytest.mark.fault("P02")
async def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(lab, whole, app, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    first, second = lab.Model(), lab.Model()
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, limits[1]))
    try:
        with pytest.raises(dspex.JournalError, match="make room, then run the same call"):
            await lab.compiled(first, run_dir=tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    program = await lab.compiled(second, run_dir=tmp_path / "run")
    assert lab.saved(program, tmp_path) == whole.program
    assert len(first.prompts) + len(second.prompts) <= len(set(first.prompts + second.prompts)) + 8


async def test_a_run_that_found_no_model_goes_on_when_there_is_one(lab, whole, app, tmp_path):
    async def down(number, text):
        if number > 30:
            raise dspex.Unavailable("connection refused")

    with pytest.raises(dspex.EvaluationError, match="found no model: Unavailable") as caught:
        await lab.compiled(lab.Model(down), run_dir=tmp_path / "run")
    assert str(tmp_path / "run") in "".join(caught.value.__notes__)
    program = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    assert lab.saved(program, tmp_path) == whole.program


PROGRAM = """
import asyncio, sys, lab, dspex
async def wait(number, text):
    print(number, flush=True)
    await asyncio.sleep(0.01 if number < 60 else 60)
dspex.configure(lm=lab.Model(wait).lm)
lab.Search().compile(dspex.Predict("question -> answer"), run_dir=sys.argv[1], num_threads=8, **lab.DATA)
"""


@pytest.mark.fault("P13")
def test_ctrl_c_leaves_a_whole_journal_and_names_the_folder(lab, program, tmp_path):
    with (tmp_path / "said").open("w+") as said:
        process = program(PROGRAM, tmp_path / "run", err=said.fileno())
        while (line := process.out.readline()) != "60\n":
            assert line, said.read()
        os.kill(process.pid, signal.SIGINT)
        began = time.monotonic()
        assert process.wait() == -signal.SIGINT
        assert time.monotonic() - began < 5, "1 s on a quiet machine"
        said.seek(0)
        words = f"KeyboardInterrupt: The compile was interrupted. Run folder: {tmp_path / 'run'}"
        assert words in said.read()

    async def resumed():
        async with App():
            return await lab.compiled(lab.Model(), run_dir=tmp_path / "run")

    program = asyncio.run(resumed())
    assert program.ledger.reused > 40
    assert 0 <= program.ledger.lost <= 8


FORKING = """
import os, sys, time, warnings, lab, dspex
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, since 3.12
async def wait(number, text):
    if number == 30:
        if not (child := os.fork()):
            time.sleep(30)
            os._exit(0)
        print(child, flush=True)
        time.sleep(30)
dspex.configure(lm=lab.Model(wait).lm)
if sys.argv[2] == "compile":
    lab.Search().compile(dspex.Predict("question -> answer"), run_dir=sys.argv[1], **lab.DATA)
else:
    dspex.Evaluate(lab.examples(40), lab.right, run_dir=sys.argv[1])(dspex.Predict("question -> answer"))
"""


@pytest.mark.fault("P08")
@pytest.mark.parametrize("what", ["compile", "evaluate"])
def test_the_lock_of_a_run_dies_with_its_owner_though_a_forked_child_lives(program, tmp_path, what):
    process = program(FORKING, tmp_path / "run", what)
    child = int(process.out.readline())
    try:
        process.kill()
        Journal(tmp_path / "run").close()
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


async def test_cancelling_the_waiter_ends_the_run_and_it_can_go_on(lab, whole, app, tmp_path):
    reached = asyncio.Event()

    async def slow(number, text):
        if number >= 40:
            reached.set()
            await asyncio.sleep(60)

    task = asyncio.ensure_future(lab.compiled(lab.Model(slow), run_dir=tmp_path / "run"))
    model = lab.Model()
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    program = await lab.compiled(model, run_dir=tmp_path / "run")
    assert program.ledger.reused > 0
    assert lab.saved(program, tmp_path) == whole.program


async def test_closing_the_app_ends_its_jobs_and_their_journals_stay_whole(lab, whole, tmp_path):
    held_up = asyncio.Event()

    async def hang(number, text):
        if number > 20:
            held_up.set()
            await asyncio.Event().wait()

    async with App():
        with dspex.context(lm=lab.Model(hang).lm):
            job = lab.Search().start(dspex.Predict("question -> answer"), run_dir=tmp_path / "run", **lab.DATA)
        await held_up.wait()
    with pytest.raises(concurrent.futures.CancelledError, match="folder is"):
        job.result(1)
    async with App():
        program = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
        assert lab.saved(program, tmp_path) == whole.program
