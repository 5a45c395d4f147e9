"""A model that is trained inside a run: begun once, waited for, within the budget, and saved by its name alone."""

import asyncio
import importlib.util
import json
import signal
import sys
from pathlib import Path

import pytest

import dspex
from dspex.plugin import FineTuneStatus
from dspex.runtime.journal import FILE, replay
from dspex.runtime.records import Step, Training
from dspex.testing import VirtualClock, simulate

SCHOOL = Path(__file__).with_name("school.py")
_spec = importlib.util.spec_from_file_location("school", SCHOOL)
assert _spec is not None
assert _spec.loader is not None
school = importlib.util.module_from_spec(_spec)
sys.modules["school"] = school
_spec.loader.exec_module(school)


class Noting(VirtualClock):
    """Keeps the waits of a second and more: a job's own looks at itself are shorter."""

    def __init__(self):
        self.waits = []

    async def sleep(self, seconds):
        if seconds >= 1:
            self.waits.append(seconds)
        await super().sleep(seconds)


def simulated(model, **options):
    """The program, and the waits for its training in virtual seconds."""
    clock, prices = Noting(), dict.fromkeys(["house/small", "house/small-2"], (0.0, 0.0))

    async def main():
        async with dspex.App(clock=clock, prices=prices):
            return await school.compiled(model, **options)

    return simulate(main)[0], clock.waits


def trainings(folder):
    records, _ = replay((folder / FILE).read_bytes())
    return [record for record in records if isinstance(record, Training)]


def test_a_model_is_trained_once_and_its_program_is_the_better_one(tmp_path):
    model = school.School(tmp_path / "jobs")
    program, _ = simulated(model, run_dir=tmp_path / "run")
    assert program.lm.model == "house/small-2"
    assert program.evidence.score == 1.0
    assert program.evidence.usage["finetune"] == {"calls": 0, "tokens": 0, "usd": 3.0}
    assert {name: model.asked.count(name) for name in set(model.asked)} == {"small": 12, "small-2": 12}
    (spec,) = model.specs
    assert (spec.model, spec.rows, spec.format, spec.train_kwargs) == ("small", school.ROWS, "chat", {"epochs": 2})
    again = school.School(tmp_path / "jobs")
    repeated, _ = simulated(again, run_dir=tmp_path / "run")
    assert (again.said, again.asked) == ([], [])
    assert repeated.evidence == program.evidence


def test_the_waits_between_two_looks_are_the_clock_s_and_grow_to_a_minute(tmp_path):
    _, waits = simulated(school.School(tmp_path / "jobs", looks=10))
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_provider_says_when_to_look_again(tmp_path):
    class Patient(school.School):
        async def finetune_status(self, job):
            status = await super().finetune_status(job)
            return FineTuneStatus("running", wait=90.0) if status.state == "running" else status

    _, waits = simulated(Patient(tmp_path / "jobs", looks=3))
    assert waits == [90, 90]  # its own are 2 and 4, and never more than 60


@pytest.fixture(scope="module")
def killed(warm, tmp_path_factory):
    """What became of compiles that were killed at `finetune_start`, at the first look and at a later one."""
    folder = tmp_path_factory.mktemp("kills")
    # In the way of `-W error`, which the program that is forked was not started with.
    strict = "import warnings; warnings.simplefilter('error')\n"
    started = f"import runpy; runpy.run_path({str(SCHOOL)!r}, run_name='__main__')"
    done = warm.run("-c", strict + started, folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    return {tuple(row["point"]): row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize(
    ("point", "said"),
    [
        (("start", 1), ["start", "status", "status"]),
        (("status", 1), ["status", "status"]),
        (("status", 3), ["status", "status"]),
    ],
    ids=["before its id is known", "before the first look", "while it waits"],
)
def test_a_killed_run_looks_again_and_trains_nothing_twice(killed, point, said):
    row = killed[point]
    assert (row["killed"], row["ended"]) == (-signal.SIGKILL, 0)
    assert row["jobs"] == 1
    assert row["said"] == said
    assert row["model"] == "house/small-2"


def test_the_id_is_in_the_journal_before_the_first_look(tmp_path):
    known = []

    async def before(what, number):
        if what == "status":
            known.append([one.job for one in trainings(tmp_path / "run")])

    simulated(school.School(tmp_path / "jobs", before), run_dir=tmp_path / "run")
    assert known == [["job 0"]] * 3
    assert [(one.job, one.state, one.usd) for one in trainings(tmp_path / "run")] == [
        ("job 0", "", 0.0),
        ("job 0", "succeeded", 3.0),
    ]


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_training_that_fails_is_an_error_and_the_same_call_begins_another(tmp_path, state):
    end = FineTuneStatus(state, error="a row is too long")
    with pytest.raises(dspex.EvaluationError, match=f"training 'job 0' of house/small {state}: a row is too long"):
        simulated(school.School(tmp_path / "jobs", end=end), run_dir=tmp_path / "run")
    program, _ = simulated(school.School(tmp_path / "jobs"), run_dir=tmp_path / "run")
    assert program.lm.model == "house/small-2"
    assert [(one.job, one.state) for one in trainings(tmp_path / "run")] == [
        ("job 0", ""),
        ("job 0", state),
        ("job 0", ""),
        ("job 0", "succeeded"),
    ]


def test_what_the_provider_refuses_is_an_error_that_says_so(tmp_path):
    class Strict(school.School):
        async def finetune_start(self, spec):
            raise dspex.BadRequest("10 rows are the least")

    with pytest.raises(dspex.EvaluationError, match=r"no training of house/small: BadRequest: .*10 rows are the least"):
        simulated(Strict(tmp_path / "jobs"))


def test_a_status_that_cannot_be_had_for_a_while_loses_no_training(tmp_path):
    async def before(what, number):
        if what == "status" and number < 8:
            raise dspex.Unavailable("down by script")

    model = school.School(tmp_path / "jobs", before, looks=8)
    program, _ = simulated(model)
    assert program.lm.model == "house/small-2"
    assert model.said.count("start") == 1


def test_a_status_that_is_none_is_the_provider_s_fault(tmp_path):
    class Wrong(school.School):
        async def finetune_status(self, job):
            return {"state": "succeeded"}

    with pytest.raises(dspex.EvaluationError, match="finetune_status gave"):
        simulated(Wrong(tmp_path / "jobs"))


def cancelled(model, folder, act):
    """A job that is told something at the second look at its training."""
    jobs = []

    async def before(what, number):
        if (what, number) == ("status", 2):
            act(jobs[0])

    model.before = before

    async def main():
        async with dspex.App(clock=VirtualClock()):
            with dspex.context(lm=model.lm):
                student = dspex.Predict("question -> answer")
                data = {"trainset": school.examples(4), "valset": school.examples(12, 100), "holdout": 0}
                jobs.append(school.Trains().start(student, **data, run_dir=folder))
                await asyncio.wait([asyncio.ensure_future(jobs[0])])
                return jobs[0]

    return simulate(main)[0]


def test_a_run_that_is_cancelled_ends_its_training_and_may_begin_it_again(tmp_path):
    model = school.School(tmp_path / "jobs", looks=99)
    job = cancelled(model, tmp_path / "run", lambda job: job.cancel(grace=0.0))
    assert job.status == "cancelled"
    assert model.said[-1] == "cancel"
    program, _ = simulated(school.School(tmp_path / "jobs"), run_dir=tmp_path / "run")
    assert program.lm.model == "house/small-2"


def test_a_run_that_is_left_leaves_its_training_alone_and_finds_it_again(tmp_path):
    model = school.School(tmp_path / "jobs", looks=99)
    cancelled(model, tmp_path / "run", lambda job: job.abort())
    assert "cancel" not in model.said
    again = school.School(tmp_path / "jobs")
    program, _ = simulated(again, run_dir=tmp_path / "run")
    assert program.lm.model == "house/small-2"
    assert "start" not in again.said


# Money


def test_a_training_that_a_budget_does_not_cover_is_not_begun(tmp_path):
    model = school.School(tmp_path / "jobs", cost=5.0)
    short = dspex.Budget(usd=4.0, on_short="stop")
    program, _ = simulated(model, budget=short, run_dir=tmp_path / "run")
    assert program.evidence.stopped == "budget"
    assert model.said == []
    program, _ = simulated(model, budget=dspex.Budget(usd=5.0), run_dir=tmp_path / "run")
    assert program.ledger.usd == 3.0


def test_a_price_that_nobody_knows_is_asked_for_before_anything_is_paid(tmp_path):
    model = school.School(tmp_path / "jobs", cost=None)
    with pytest.raises(dspex.ConfigurationError, match="say usd="):
        simulated(model, budget=dspex.Budget(usd=5.0))
    assert model.said == model.asked == []
    program, _ = simulated(model, budget=dspex.Budget(usd=5.0), optimizer=school.Trains(usd=4.0))
    assert program.evidence.usage["finetune"]["usd"] == 3.0


def test_an_outer_budget_holds_for_a_training_too(tmp_path):
    model = school.School(tmp_path / "jobs", cost=5.0)
    with dspex.budget(usd=4.0):
        program, _ = simulated(model)
    assert program.evidence.stopped == "budget"
    assert model.said == []


# What is kept


def test_neither_key_nor_address_is_in_what_is_saved(tmp_path):
    program, _ = simulated(school.School(tmp_path / "jobs"), run_dir=tmp_path / "run")
    program.save(tmp_path / "program.json")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if b"sk-never-in-a-file" in path.read_bytes()]
    loaded = dspex.Predict("question -> answer").load(tmp_path / "program.json")
    assert loaded.lm.model == "house/small-2"


def test_the_program_of_a_run_s_folder_has_the_trained_model(tmp_path):
    model = school.School(tmp_path / "jobs")
    simulated(model, run_dir=tmp_path / "run")
    with dspex.context(lm=model.lm):
        found = dspex.Job.open(tmp_path / "run").result(dspex.Predict("question -> answer"))
        assert found(question="n=7").answer == "14"
    assert model.asked[-1] == "small-2"


def test_a_model_without_the_hook_is_refused_by_name(lab, tmp_path):
    with dspex.context(lm=lab.Model().lm), pytest.raises(dspex.ConfigurationError, match="has no finetune_start"):
        school.Trains().compile(dspex.Predict("question -> answer"), trainset=school.examples(3))


def test_a_key_in_the_arguments_of_a_training_is_refused(tmp_path):
    class Leaking(school.Trains):
        async def run(self, ctx):
            await ctx.check_finetune(dspex.settings.lm, train_kwargs={"api_key": "sk-1"})

    with pytest.raises(dspex.ConfigurationError, match="train_kwargs has api_key"):
        simulated(school.School(tmp_path / "jobs"), optimizer=Leaking())


def test_a_training_is_a_step_of_the_journal(tmp_path):
    simulated(school.School(tmp_path / "jobs"), run_dir=tmp_path / "run")
    records, _ = replay((tmp_path / "run" / FILE).read_bytes())
    assert [record.kind for record in records if isinstance(record, Step)].count("finetune") == 1
