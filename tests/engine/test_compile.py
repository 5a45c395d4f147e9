"""What a compile gives: the same program for any timing, within its budget, with evidence that no step has touched."""

import asyncio
import json
import random
import threading
from contextlib import suppress

import msgspec
import pytest

import dspex
from dspex.app.app import App
from dspex.runtime.journal import FILE, replay
from dspex.runtime.records import End, Sent, Step
from dspex.testing.virtual_time import VirtualClock, simulate


def delayed(seed, most=2.0, faults=0.0):
    """Calls take up to `most` virtual seconds, and some fail."""
    rng = random.Random(seed)

    async def before(number, text):
        await asyncio.sleep(rng.random() * most)
        if rng.random() < faults:
            raise dspex.BadRequest("a fault by script")

    return before


def simulated(lab, tmp_path, seed, concurrency, faults=0.0, **options):
    """The program's bytes and the model, of a compile in virtual time under the delays of this seed."""
    model = lab.Model(delayed(seed, faults=faults))

    async def main():
        async with App(clock=VirtualClock(), prices={"custom/lab": (1.0, 2.0)}):
            folder = tmp_path / f"{random.random()}"
            program = await lab.compiled(model, num_threads=concurrency, run_dir=folder, **options)
            return lab.saved(program, folder), program.ledger

    (data, ledger), _ = simulate(main, seed)
    return data, model, ledger


@pytest.mark.slow
@pytest.mark.parametrize(
    "budget",
    [
        None,
        dspex.Budget(calls=45, on_short="stop"),
        dspex.Budget(tokens=22_000, on_short="stop"),
        dspex.Budget(usd=0.03, on_short="stop"),
    ],
    ids=["no budget", "calls", "tokens", "dollars"],
)
def test_delays_and_concurrency_do_not_change_the_program(lab, tmp_path, budget):
    found = set()
    for seed, concurrency in [(0, 1), (1, 3), (2, 8), (3, 8), (4, 32), (5, 32)]:
        data, model, _ = simulated(lab, tmp_path, seed, concurrency, budget=budget, **lab.SMALL)
        assert model.most <= concurrency
        found.add(data)
    assert len(found) == 1
    assert (json.loads(data)["metadata"]["evidence"]["stopped"] == "done") == (budget is None)


@pytest.mark.parametrize("calls", [0, 1, 15, 30, 80, 120])
@pytest.mark.parametrize("faults", [0.0, 0.1], ids=["no faults", "faults"])
def test_a_budget_of_calls_is_never_passed(lab, tmp_path, calls, faults):
    budget = dspex.Budget(calls=calls, on_short="stop")
    data, model, ledger = simulated(lab, tmp_path, calls, 8, faults, budget=budget, **lab.SMALL)
    assert len(model.prompts) == ledger.paid <= calls
    assert ledger.calls <= calls
    assert json.loads(data)["metadata"]["evidence"]["stopped"] == ("budget" if calls < 50 else "done")


async def test_a_budget_that_the_estimate_passes_is_refused_before_anything_is_spent(lab, app):
    class Bounded(lab.Search):
        def estimate(self, shape):
            return dspex.Estimate(task=dspex.Range(0, 5 * shape.val), teacher=dspex.Range(0, 4 * shape.train))

    model = lab.Model()
    with pytest.raises(
        dspex.BudgetExceeded, match=r"may take at most 160 calls .*; the budget has 100 calls"
    ) as caught:
        await lab.compiled(model, optimizer=Bounded(), budget=dspex.Budget(calls=100))
    assert (caught.value.unit, caught.value.limit) == ("calls", 100)
    assert model.prompts == []


async def test_a_budget_around_the_compile_stops_it_with_the_best_so_far(lab, app):
    with dspex.budget(calls=30) as spent:
        program = await lab.compiled(lab.Model())
    assert program.evidence.stopped == "budget"
    assert spent.spent.calls <= 30


def test_the_time_is_a_wall_too_and_a_replay_ends_there(lab, tmp_path):
    def run(model):
        async def main():
            async with App(clock=VirtualClock()):
                budget = dspex.Budget(seconds=8)
                program = await lab.compiled(model, run_dir=tmp_path / "run", budget=budget)
                return lab.saved(program, tmp_path), program.evidence.stopped

        return simulate(main)

    first, second = lab.Model(delayed(1)), lab.Model(delayed(2))
    (data, stopped), seconds = run(first)
    assert stopped == "budget"
    assert 8 <= seconds <= 11
    assert run(second)[0] == (data, stopped)
    assert second.prompts == []


def test_a_deadline_around_the_compile_stops_it_with_the_best_so_far(lab, tmp_path):
    async def main():
        async with App(clock=VirtualClock()):
            with dspex.deadline(8):
                return (await lab.compiled(lab.Model(delayed(1)), run_dir=tmp_path / "run")).evidence.stopped

    stopped, seconds = simulate(main)
    assert stopped == "budget"
    assert seconds == pytest.approx(8, abs=0.1)


@pytest.mark.parametrize("seconds", [0.0, 8.0])
def test_a_deadline_that_a_program_meets_outside_a_call_is_no_failure_of_its_examples(lab, tmp_path, seconds):
    """And is not in the journal: with more time the same run goes on."""

    class Sleeps(dspex.Predict):
        async def aforward(self, **given):
            await asyncio.sleep(3)
            return await super().aforward(**given)

    model = lab.Model(delayed(0.1))

    async def main(seconds):
        async with App(clock=VirtualClock()):
            with dspex.deadline(seconds):
                given = {**lab.DATA, **lab.SMALL, "run_dir": tmp_path / "run"}
                with dspex.context(lm=model.lm):
                    return (await lab.Search().acompile(Sleeps("question -> answer"), **given)).evidence.stopped

    assert simulate(lambda: main(seconds))[0] == "budget"
    records, _ = replay((tmp_path / "run" / FILE).read_bytes())
    kept = [one for one in records if isinstance(one, Step)]
    assert [one for one in kept if b"DeadlineExceeded" in bytes(one.value)] == []
    assert simulate(lambda: main(1e6))[0] == "done"


# Examples set apart


async def test_held_examples_are_asked_only_when_the_search_has_ended(lab, app):
    model = lab.Model()
    held = lab.examples(30, 500)
    program = await lab.compiled(model, holdout=held)
    last = [index for index, text in enumerate(model.prompts) if any(f"n={500 + i}" in text for i in range(30))]
    assert len(last) == 60
    assert last == list(range(len(model.prompts) - 60, len(model.prompts)))
    assert (program.evidence.basis, program.evidence.n) == ("held", 30)
    assert program.evidence.comparison.n == 30


async def test_a_held_example_is_refused_to_the_search(lab, app):
    held = lab.examples(3, 500)

    class Cheat(lab.Search):
        async def run(self, ctx):
            await ctx.evaluate(ctx.student, held)

    with pytest.raises(dspex.ConfigurationError, match=r"not one of ctx\.train or ctx\.val"):
        await lab.compiled(lab.Model(), optimizer=Cheat(), holdout=held)


@pytest.mark.parametrize("said", [True, False], ids=["by its origin", "by its text"])
@pytest.mark.parametrize("how", ["considered", "run", "returned"])
async def test_a_held_example_is_out_of_reach_and_no_demo(lab, app, how, said):
    held = lab.examples(3, 500)

    class Cheat(lab.Search):
        async def run(self, ctx):
            assert ctx.setup.held == ()
            fields = {"question": "n=1", "answer": "2"} if said else held[1].toDict()
            demo = dspex.Demo(fields, origin=ctx.key_of(held[1]) if said else "given")
            made = ctx.student.with_demos({"self": (demo,)})
            if how == "run":
                await ctx.evaluate(made, ctx.val)
            return made if how == "returned" else ctx.consider(made, "cheat")

    model = lab.Model()
    with pytest.raises(dspex.ConfigurationError, match="A demo of 'self' is a held example"):
        await lab.compiled(model, optimizer=Cheat(), holdout=held)
    assert model.prompts == []


async def test_examples_that_the_program_shows_already_are_not_set_apart(lab, app):
    class Nothing(lab.Search):
        async def run(self, ctx):
            return ctx.student

    data = lab.examples(200)
    student = dspex.Predict("question -> answer")
    student.demos = [*data[:80], dspex.Example(question="n=80", answer="made by a model", augmented=True)]
    model = lab.Model()
    with dspex.context(lm=model.lm):
        job = Nothing().start(student, trainset=data[:150], valset=data[150:], holdout=0.5)
        program = await job
        assert [len(part) for part in (job._setup.held, job._context.train)] == [69, 81]
        assert not {one.question for one in job._setup.held} & {demo["question"] for demo in student.demos}
        given = await Nothing().acompile(student, trainset=data[150:], holdout=data[70:110])
    assert "11 held examples are also in train or val, or twice, or demos of the program" in given.evidence.notes[0]
    assert program.demos == student.demos


@pytest.mark.parametrize(
    ("sizes", "holdout", "held"),
    [
        ((40, 20), "auto", 0),
        ((90, 10), "auto", 20),
        ((300, 10), "auto", 60),
        ((10, 2_000), "auto", 200),
        ((40, 20), 0.25, 10),
        ((40, 20), 0, 0),
    ],
)
async def test_as_many_examples_are_set_apart_as_asked(lab, app, sizes, holdout, held):
    seen = {}

    class Look(lab.Search):
        async def run(self, ctx):
            seen.update(train=len(ctx.train), val=len(ctx.val), held=ctx.setup.shape.held)
            return ctx.student

    data = {"trainset": lab.examples(sizes[0]), "valset": lab.examples(sizes[1], 10_000)}
    await lab.compiled(lab.Model(), optimizer=Look(), holdout=holdout, **data)
    assert seen["held"] == held
    assert seen["train"] + seen["val"] + held == sum(sizes)


async def test_held_examples_that_are_also_used_are_left_out_and_that_is_said(lab, app):
    program = await lab.compiled(lab.Model(), holdout=[*lab.examples(4), *lab.examples(25, 500)])
    assert program.evidence.n == 25
    assert "4 held examples are also in train or val" in program.evidence.notes[0]


# Results


async def test_the_student_is_not_touched_and_the_result_says_what_it_is(lab, app):
    student = dspex.Predict("question -> answer")
    before = student.dump_state()
    with dspex.context(lm=lab.Model().lm):
        program = await lab.Search().acompile(student, **lab.DATA)
    assert student.dump_state() == before
    assert not student._compiled
    assert program._compiled
    assert program.demos
    pool = program.candidate_programs
    assert pool[0]["label"] != "student"
    assert pool[0]["score"] == max(one["score"] for one in pool if one["score"] is not None)
    assert len(pool[0]["subscores"]) == 16
    assert pool[0]["program"].dump_state() == program.dump_state()


async def test_a_gain_on_the_examples_of_the_choice_is_corrected_for_it(lab, app):
    evidence = (await lab.compiled(lab.Model())).evidence
    assert evidence.basis == "selection, max-T"
    assert 0 < evidence.corrected.score <= evidence.score
    assert evidence.corrected.gain > 0
    assert str(evidence).startswith(f"{100 * evidence.baseline:.1f} -> {100 * evidence.score:.1f} ")


async def test_where_nothing_is_gained_the_student_comes_back_and_no_gain_is_claimed(lab, app):
    program = await lab.compiled(lab.Model(), optimizer=lab.Search(metric=lambda example, prediction: True, z=9))
    assert (program.evidence.verdict, program.evidence.kept) == ("not shown", False)
    assert program.demos == []


@pytest.mark.parametrize("keep", ["estimate", "better", "best"])
async def test_a_search_that_ends_with_the_student_says_that_the_student_came_back(lab, app, keep):
    class Idle(lab.Search):
        async def run(self, ctx):
            return ctx.student

    evidence = (await lab.compiled(lab.Model(), optimizer=Idle(), keep=keep)).evidence
    assert (evidence.verdict, evidence.kept) == ("not shown", False)
    assert dict(evidence.rows())["returned"] == "the program as it was given"


async def test_the_evidence_tells_which_runs_failed_and_as_what(lab, app, tmp_path):
    async def before(number, text):
        if "n=101" in text or "n=102" in text:
            raise dspex.BadRequest("too long a question")

    def compiled():
        return lab.compiled(lab.Model(before), valset=lab.examples(8, 100), run_dir=tmp_path / "run")

    notes = (await compiled()).evidence.notes
    assert [one for one in notes if "failed" in one] == [
        f"2 of 8 runs of {name} failed, 2 of them as BadRequest: [custom/lab] too long a question"
        for name in ("the program given", "the program found")
    ]
    assert (await compiled()).evidence.notes == notes  # answered from the journal


async def test_a_budget_that_covers_no_run_is_told(lab):
    async with App(prices={"custom/lab": (1.0, 2.0)}):
        budget = dspex.Budget(usd=1e-9, on_short="stop")
        program = await lab.compiled(model := lab.Model(), budget=budget)
    assert model.prompts == []
    assert "does not cover what one run may take" in str(program.evidence)


async def test_without_a_seed_it_is_the_first(lab, app, tmp_path):
    one, other = [await lab.compiled(lab.Model(), seed=seed, run_dir=tmp_path / str(seed)) for seed in (None, 0)]
    assert one.dump_state() == other.dump_state()
    assert (tmp_path / "None" / "report.html").exists()


async def test_keep_better_returns_only_what_is_shown(lab, app):
    program = await lab.compiled(lab.Model(), keep="better", valset=lab.examples(6, 100))
    assert program.evidence.verdict == "not shown"
    assert program.demos == []
    with pytest.raises(dspex.ConfigurationError, match="keep='most'"):
        await lab.compiled(lab.Model(), keep="most")


@pytest.mark.parametrize("keep", ["estimate", "better", "best"])
async def test_what_is_shown_on_held_examples_is_returned_whatever_the_estimate_says(lab, app, keep):
    class Shown(lab.Search):
        async def run(self, ctx):
            demos = (dspex.Demo(ctx.train[0].toDict(), origin=ctx.key_of(ctx.train[0])),)
            made = ctx.consider(ctx.student.with_demos({"self": demos}), "shown")
            await ctx.evaluate_all([(one, ctx.val) for one in (ctx.student, made)])
            return made

    class Copies(lab.Model):
        async def complete(self, request):
            return dspex.plugin.LMResponse.from_text(f"[[ ## answer ## ]]\n{len(request.messages)}")

    def longer_is_right(example, prediction):
        is_held = int(example.question.partition("=")[2]) >= 500
        return (int(prediction.answer) > 2) is is_held

    program = await lab.compiled(
        Copies(), optimizer=Shown(metric=longer_is_right), holdout=lab.examples(20, 500), keep=keep
    )
    assert (program.evidence.verdict, program.evidence.corrected.gain <= 0) == ("better", True)
    assert (program.evidence.kept, len(program.demos)) == (True, 1)


@pytest.mark.parametrize(("keep", "kept"), [("estimate", False), ("better", False), ("best", True)])
async def test_keep_best_returns_what_was_chosen_and_the_evidence_says_what_it_says(lab, app, keep, kept):
    class Stubborn(lab.Search):
        async def run(self, ctx):
            made = ctx.consider(
                ctx.student.with_demos({"self": (dspex.Demo({"question": "n=1", "answer": "2"}),)}), "made"
            )
            await ctx.evaluate_all([(one, ctx.val) for one in (ctx.student, made)])
            return made

    search = Stubborn(metric=lambda example, prediction: True)
    program = await lab.compiled(lab.Model(), optimizer=search, keep=keep)
    assert (program.evidence.verdict, program.evidence.kept) == ("not shown", kept)
    assert bool(program.demos) is kept


async def test_a_saved_program_holds_neither_time_nor_run(lab, app, tmp_path):
    program = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    kept = lab.saved(program, tmp_path).decode()
    assert not [word for word in ("seconds", "run_dir", str(tmp_path), "paid", "reused") if word in kept]
    assert json.loads(kept)["metadata"]["evidence"]["usage"]["task"]["calls"] > 0


# Steps


async def test_equal_evaluations_are_made_once(lab, app):
    class Twice(lab.Search):
        async def run(self, ctx):
            both = [ctx.evaluate(ctx.student, ctx.val), ctx.evaluate(ctx.student, ctx.val)]
            first, second = await ctx.gather(*both)
            traced = await ctx.evaluate(ctx.student, ctx.val, trace=True)
            assert first == second
            assert traced.values == first.values
            assert all(row.trace for row in traced)
            return ctx.student

    model = lab.Model()
    await lab.compiled(model, optimizer=Twice())
    assert len(model.prompts) == 16


async def test_another_sample_is_another_call(lab, app):
    class Samples(lab.Search):
        async def run(self, ctx):
            for sample in (0, 1, 2):
                await ctx.evaluate(ctx.student, ctx.val[:4], sample=sample, temperature=0.7 if sample else None)
            return ctx.student

    model = lab.Model()
    await lab.compiled(model, optimizer=Samples())
    assert len(model.prompts) == 12
    assert ["temperature" in text for text in model.prompts] == [False] * 4 + [True] * 8


async def test_a_demo_is_hidden_from_the_teacher_that_meets_its_example(lab, app):
    class Own(lab.Search):
        async def run(self, ctx):
            demos = tuple(dspex.Demo(one.toDict(), origin=ctx.key_of(one)) for one in ctx.train[:3])
            await ctx.collect(ctx.student.with_demos({"self": demos}), ctx.train[:3], 3)
            return ctx.student

    model = lab.Model()
    await lab.compiled(model, optimizer=Own())
    asked = [[f"n={n}" in text.rsplit("n=", 1)[0] for n in range(3)] for text in sorted(model.prompts)]
    assert sorted(map(sum, asked)) == [2] * len(asked)


async def test_no_more_runs_are_collected_than_a_walk_would_need_if_asked(lab, app):
    class Walk(lab.Search):
        async def run(self, ctx):
            got = await ctx.collect(ctx.student, ctx.train, 2, speculate=False)
            tried = [ctx.key_of(one) for one in ctx.train]
            assert len(model.prompts) == tried.index(got[-1].example) + 1
            return ctx.student

    model = lab.Model()
    await lab.compiled(model, optimizer=Walk())


async def test_a_stream_of_draws_is_given_once(lab, app):
    class Again(lab.Search):
        async def run(self, ctx):
            ctx.rng("x"), ctx.rng("x")

    with pytest.raises(dspex.ConfigurationError, match=r"ctx\.rng\('x'\) was asked for twice"):
        await lab.compiled(lab.Model(), optimizer=Again())


async def test_a_judge_is_asked_under_the_callers_settings(lab, app):
    judge = lab.Model()

    class Judge(dspex.Module):
        def __init__(self):
            super().__init__()
            self.verdict = dspex.Predict("question -> answer")
            self.verdict.lm = judge.lm

        async def aforward(self, example, prediction, trace=None):
            await self.verdict.acall(question=example.question)
            return lab.right(example, prediction)

    class Warm(lab.Search):
        async def run(self, ctx):
            await ctx.evaluate(ctx.student, ctx.val, sample=1, temperature=1.0)
            return ctx.student

    model = lab.Model()
    program = await lab.compiled(model, optimizer=Warm(metric=Judge()))
    assert all("temperature" in text for text in model.prompts)
    assert not any("temperature" in text for text in judge.prompts)
    assert program.ledger.calls == len(model.prompts) + len(judge.prompts) == 32


async def test_a_result_that_is_not_there_in_time_is_an_error_and_the_run_goes_on(lab, app, tmp_path):
    with dspex.context(lm=lab.Model().lm):
        job = lab.Search().start(dspex.Predict("question -> answer"), run_dir=tmp_path / "run", **lab.DATA)
    with pytest.raises(TimeoutError, match=r"run has not ended within 0.01 s; it goes on"):
        job.result(timeout=0.01)
    assert (await job).evidence.stopped == "done"


async def test_a_job_that_is_aborted_at_once_ends_at_once(lab, app):
    model = lab.Model()
    job = started(lab, model)
    job.abort()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert (job.status, model.prompts) == ("cancelled", [])


@pytest.mark.parametrize("asks_more", [False, True])
async def test_an_algorithm_that_catches_its_cancel_neither_hangs_nor_is_a_success(lab, app, asks_more):
    class Deaf(lab.Search):
        async def run(self, ctx):
            try:
                await ctx.evaluate(ctx.student, ctx.val, sample=1)
            except asyncio.CancelledError:
                if asks_more:
                    await ctx.evaluate(ctx.student, ctx.val[:2])
            return ctx.student

    asked = asyncio.Event()

    async def before(number, text):
        asked.set()
        await asyncio.sleep(0)

    with dspex.context(lm=lab.Model(before).lm):
        job = Deaf().start(dspex.Predict("question -> answer"), **lab.DATA, num_threads=4)
    await asked.wait()
    job.abort()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(job, 10)
    assert job.status == "cancelled"


# Failures


async def test_a_provider_that_raises_errors_of_its_own_is_no_model_either(lab, app):
    async def broken(number, text):
        if number > 5:
            raise ConnectionError("gone for good")

    with pytest.raises(dspex.EvaluationError, match=r"found no model: PluginError: .* raised ConnectionError"):
        await lab.compiled(lab.Model(broken), num_threads=2)


async def test_a_failing_example_is_a_failed_row_and_not_the_end(lab, app):
    def picky(example, prediction):
        if int(example.question[2:]) % 4 == 3:
            raise KeyError("label")
        return lab.right(example, prediction)

    program = await lab.compiled(lab.Model(), optimizer=lab.Search(metric=picky))
    assert program.evidence.stopped == "done"
    with pytest.raises(dspex.EvaluationError, match="5 examples failed, which is `max_errors`; the last: KeyError"):
        await lab.compiled(lab.Model(), optimizer=lab.Search(metric=picky), max_errors=5)


@pytest.mark.parametrize(
    ("metric", "data", "says"),
    [
        (lambda example, prediction: prediction.anwser == 1, {}, "AttributeError.*anwser"),
        (lambda example, prediction: None, {}, "EvaluationError: The metric returned None"),
        (None, {"trainset": [dspex.Example(q=str(n)).with_inputs("q") for n in range(9)]}, "InputError"),
    ],
    ids=["typo", "no score", "missing input"],
)
@pytest.mark.fault("P17")
async def test_a_slip_that_fails_every_example_ends_the_run_at_once(lab, app, metric, data, says):
    model = lab.Model()
    with pytest.raises(dspex.EvaluationError, match=f"(?s)first 3 examples all fail with {says}"):
        await lab.compiled(model, optimizer=lab.Search(metric=metric or lab.right), **data)
    assert len(model.prompts) <= 16


async def test_an_error_of_the_algorithm_ends_the_run_and_is_told(lab, app, tmp_path):
    class Broken(lab.Search):
        async def one(self, ctx, seed):
            await ctx.evaluate(ctx.student, ctx.val)
            raise ZeroDivisionError("a slip")

    with pytest.raises(ZeroDivisionError, match="a slip"):
        await lab.compiled(lab.Model(), optimizer=Broken(), run_dir=tmp_path / "run")


# Jobs


def started(lab, model, **options):
    with dspex.context(lm=model.lm):
        return lab.Search().start(dspex.Predict("question -> answer"), **lab.DATA, num_threads=4, **options)


def test_a_job_tells_how_far_it_is(lab):
    async def slow(number, text):
        await asyncio.sleep(0.02)  # progress is told ten times a second

    async def main():
        async with App(clock=VirtualClock()):
            job = started(lab, lab.Model(slow), budget=dspex.Budget(calls=500, on_short="stop"))
            assert job.status in ("queued", "running")
            return job, [progress async for progress in job.events()], await job

    (job, seen, program), _ = simulate(main)
    assert {progress.phase for progress in seen} >= {"race"}
    last = seen[-1]
    assert (last.status, last.n) == ("done", 16)
    assert 0 < last.low < last.best <= last.high == 1
    assert last.left.calls == 500 - last.spent.calls
    ledgers = [msgspec.structs.replace(ledger, seconds=0.0) for ledger in (job.ledger, program.ledger)]
    assert ledgers[0] == ledgers[1]


async def test_a_paused_job_asks_for_nothing_until_it_is_resumed(lab, app, tmp_path):
    async def slow(number, text):
        if number == 20:
            job.pause()
        await asyncio.sleep(0)

    model = lab.Model(slow)
    job = started(lab, model)
    async for progress in job.events():
        if progress.status == "paused":
            break
    asked = len(model.prompts)
    await asyncio.sleep(0.02)
    assert asked == len(model.prompts) <= 25
    job.resume()
    assert lab.saved(await job, tmp_path) == lab.saved(await lab.compiled(lab.Model()), tmp_path)


async def test_a_cancelled_job_gives_the_best_so_far_and_can_go_on(lab, app, tmp_path):
    async def slow(number, text):
        if number == 40:
            job.cancel()
        await asyncio.sleep(0)

    model = lab.Model(slow)
    job = started(lab, model, run_dir=tmp_path / "run")
    program = await job
    assert (job.status, program.evidence.stopped) == ("cancelled", "cancelled")
    assert len(model.prompts) <= 45
    again = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    assert lab.saved(again, tmp_path) == lab.saved(await lab.compiled(lab.Model()), tmp_path)


async def test_a_job_is_a_supervised_child_of_its_app(lab, app):
    begun, going_on = asyncio.Event(), asyncio.Event()

    async def held(number, text):
        begun.set()
        await going_on.wait()

    job = started(lab, lab.Model(held))
    await begun.wait()
    assert [row.name for row in app.tree() if row.name.startswith("job")] == [f"job {job.run_dir}"]
    going_on.set()
    await job
    for _ in range(1000):  # the supervisor hears of it a few turns of the loop later
        await asyncio.sleep(0)
    assert not [row for row in app.tree() if row.name.startswith("job")]


def test_sync_code_compiles_and_steers_from_any_thread(lab, tmp_path):
    dspex.configure(lm=lab.Model().lm)
    student = dspex.Predict("question -> answer")
    program = lab.Search().compile(student, **lab.DATA)
    job = lab.Search().start(student, **lab.DATA)
    threading.Thread(target=lambda: (job.pause(), job.resume())).start()
    assert lab.saved(job.result(10), tmp_path) == lab.saved(program, tmp_path)


def test_a_program_with_a_sync_forward_is_optimised_too(lab, tmp_path):
    class Twice(dspex.Module):
        def __init__(self):
            super().__init__()
            self.first = dspex.Predict("question -> answer")

        def forward(self, question):
            return self.first(question=question)

    class Named(lab.Search):
        async def one(self, ctx, seed):
            got = await ctx.collect(ctx.student, ctx.train, 5)
            demos = tuple(dspex.Demo({**s.inputs, **s.outputs}, True, r.example) for r in got for s in r.trace)
            return ctx.consider(ctx.student.with_demos({"first": demos}), f"{seed}")

    dspex.configure(lm=lab.Model().lm)
    program = Named().compile(Twice(), run_dir=tmp_path / "run", **lab.DATA)
    assert program.first.demos
    model = lab.Model()
    with dspex.context(lm=model.lm):
        Named().compile(Twice(), run_dir=tmp_path / "run", **lab.DATA)
    assert model.prompts == []


# The journal of a run


async def test_a_journal_has_a_sent_line_for_every_call_and_ends_with_the_evidence(lab, app, tmp_path):
    model = lab.Model()
    program = await lab.compiled(model, run_dir=tmp_path / "run")
    records, _ = replay((tmp_path / "run" / FILE).read_bytes())
    assert sum(isinstance(record, Sent) for record in records) == len(model.prompts)
    assert len({record.key for record in records if isinstance(record, Step)}) == sum(
        isinstance(record, Step) for record in records
    )
    assert isinstance(records[-1], End)
    assert records[-1].evidence == msgspec.json.decode(msgspec.json.encode(program.evidence))


@pytest.mark.fault("R25")
@pytest.mark.fault("X02")
async def test_no_key_is_written(lab, app, tmp_path):
    lm = dspex.LM("lab", provider=lab.Model(), cache=False, api_key="sk-canary")
    with dspex.context(lm=lm), suppress(dspex.DspexError):
        await lab.Search().acompile(dspex.Predict("question -> answer"), run_dir=tmp_path / "run", **lab.DATA)
    assert "sk-canary" not in (tmp_path / "run" / FILE).read_text()
