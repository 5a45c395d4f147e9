"""A run can be looked at and steered from another process, and its folder tells what became of it."""

import asyncio
import json
import os
from contextlib import aclosing

import pytest

import dspex
from dspex.engine.attached import CONTROL
from dspex.runtime.journal import FILE

OWNER = """
import asyncio, sys, lab, dspex
async def wait(number, text):
    if number == 30:
        print("there", flush=True)
    await asyncio.sleep(0.005 if number < 30 else 0.1)
model = lab.Model(wait)
dspex.configure(lm=model.lm)
job = lab.Search().start(dspex.Predict("question -> answer"), run_dir=sys.argv[1], num_threads=4, **lab.DATA)
program = job.result()
print(job.status, len(model.prompts), program.evidence.stopped, flush=True)
"""


@pytest.fixture
def owner(program, tmp_path):
    """A process that runs the lab's search in tmp_path/run, and is in the middle of it."""
    process = program(OWNER, tmp_path / "run")
    assert process.out.readline() == "there\n"
    return process


async def until_one_of(events, statuses):
    """The events up to the first with one of these."""
    async for now in events:
        yield now
        if now.status in statuses:
            break


async def until(job, *statuses):
    """The job's progress once it has one of these."""
    async with asyncio.timeout(10), aclosing(job.events()) as events:
        return [now async for now in until_one_of(events, statuses)][-1]


async def test_another_process_sees_pauses_and_cancels_a_run(lab, owner, tmp_path):
    job = dspex.Job.open(tmp_path / "run")
    assert job.status == "running"
    assert job.owner == f"process {owner.pid} on {os.uname().nodename}"
    job.pause()
    paused = await until(job, "paused")
    assert paused.spent.calls >= 20
    assert paused.phase
    job.resume()
    await until(job, "running")
    job.cancel()
    assert owner.out.read().startswith("cancelled ")
    assert owner.wait() == 0
    ended = job.progress
    assert ended.status == "cancelled"
    assert job.evidence.stopped == "cancelled"


async def test_a_killed_run_is_interrupted_and_nobody_can_be_told(lab, owner, tmp_path):
    job = dspex.Job.open(tmp_path / "run")
    owner.kill()
    seen = [progress async for progress in job.events()]
    assert seen[-1].status == "interrupted"
    assert 0 <= seen[-1].spent.lost <= 4
    with pytest.raises(dspex.JournalError, match=r"No process runs .*nobody to cancel it"):
        job.cancel()
    with pytest.raises(dspex.JournalError, match="has no program: it was interrupted"):
        job.result(dspex.Predict("question -> answer"))


async def test_the_program_of_a_run_can_be_had_from_its_folder(lab, app, tmp_path):
    program = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    job = dspex.Job.open(tmp_path / "run")
    assert job.status == "done"
    student = dspex.Predict("question -> answer")
    again = job.result(student)
    assert lab.saved(again, tmp_path) == lab.saved(program, tmp_path)
    assert student.demos == []
    assert job.progress.best == max(one["score"] for one in program.candidate_programs if one["score"]) / 100
    assert {label for label, _ in job.candidates} == {one["label"] for one in program.candidate_programs}
    with pytest.raises(dspex.JournalError, match="another student"):
        job.result(dspex.Predict("question -> other"))


async def test_a_run_that_failed_says_why_until_it_is_run_again(lab, app, tmp_path):
    async def down(number, text):
        if number > 30:
            raise dspex.Unavailable("connection refused")

    with pytest.raises(dspex.EvaluationError):
        await lab.compiled(lab.Model(down), run_dir=tmp_path / "run")
    job = dspex.Job.open(tmp_path / "run")
    assert job.status == "failed"
    assert "connection refused" in job.detail
    with pytest.raises(dspex.JournalError, match="no program: EvaluationError"):
        job.result(dspex.Predict("question -> answer"))
    await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    assert job.status == "done"


async def test_a_word_for_an_owner_that_is_gone_is_not_obeyed_by_the_next(lab, app, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CONTROL).write_text("cancel")
    program = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    assert program.evidence.stopped == "done"


@pytest.mark.parametrize(
    "made", [lambda path: None, lambda path: path.mkdir(), lambda path: (path.mkdir(), (path / FILE).touch())]
)
def test_what_is_no_run_is_said_to_be_none(tmp_path, made):
    made(tmp_path / "run")
    with pytest.raises(dspex.JournalError, match="is no run folder"):
        dspex.Job.open(tmp_path / "run")


async def test_looking_at_a_run_does_not_keep_others_from_running_it(lab, app, tmp_path):
    await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    job = dspex.Job.open(tmp_path / "run")
    before = (tmp_path / "run" / FILE).read_bytes()
    assert json.dumps([job.status, job.owner]) == '["done", ""]'
    assert (tmp_path / "run" / FILE).read_bytes() == before
    await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
