"""A compile whose evaluations are made elsewhere is the same compile: its journal, its budget, its program."""

import pytest

import dspex
from dspex.testing.errands import Climbs, Doubles, Noted, notes, questions, right
from dspex.testing.executor_contract import lines


class Inside:
    """Works chunks in this process; after `most` of them it fails."""

    patience = 5.0

    def __init__(self, most=None):
        self.most = most
        self.chunks = []
        self.place = dspex.Workplace()

    async def run(self, chunks):
        for chunk in chunks:
            self.chunks.append(chunk)
            if self.most is not None and len(self.chunks) > self.most:
                raise ConnectionError("the cluster is gone")
            async for record in self.place.run(chunk):
                yield record


@pytest.fixture
async def compiled(app, tmp_path):
    """Compiles with calls noted in tmp_path / "calls", in the folder of that name, here or by an executor."""
    made = []

    async def compiled(folder, executor=None, optimizer=None, **options):
        made.append(executor)
        log = tmp_path / "calls"
        data = {"trainset": questions(16, log), "valset": questions(12, log, 100), "holdout": 0}
        return await (optimizer or Climbs(right)).acompile(
            Doubles(), run_dir=tmp_path / folder, executor=executor, **{**data, **options}
        )

    yield compiled
    for executor in made:
        if executor is not None:
            await executor.place.aclose()


def unreadable(log):
    """Examples, one of which gets a reply that nothing can be read out of."""
    return [*questions(6, log), dspex.Example(question=f"n=13 in {log}", answer=26).with_inputs("question")]


async def test_failures_and_broken_off_traces_are_journalled_as_here(compiled, tmp_path):
    train = unreadable(tmp_path / "calls")
    here = await compiled("here", trainset=train, optimizer=Climbs(right, 9))
    there = await compiled("there", Inside(), trainset=train, optimizer=Climbs(right, 9))
    assert there.dump_state() == here.dump_state()
    assert lines(tmp_path / "there") == lines(tmp_path / "here")
    assert any(step[0] == "step" and "AdapterParseError" in str(step) for step in lines(tmp_path / "there"))


async def test_a_judge_that_asks_what_the_program_has_asked_asks_for_itself(compiled, tmp_path):
    judge, model = (
        dspex.Predict("question -> answer: int"),
        dspex.LM("j/j", provider=Noted(), cache=False, num_retries=0),
    )

    async def agrees(example, prediction, trace=None):
        with dspex.context(lm=model):
            return (await judge.acall(question=example.question)).answer == prediction.answer

    here = await compiled("here", optimizer=Climbs(agrees))
    asked = len(notes(tmp_path / "calls"))
    there = await compiled("there", Inside(), optimizer=Climbs(agrees))
    assert len(notes(tmp_path / "calls")) == 2 * asked
    assert there.ledger.calls == here.ledger.calls
    assert there.ledger.paid == asked
    assert lines(tmp_path / "there") == lines(tmp_path / "here")


async def test_what_was_run_once_is_traced_without_another_call(compiled, tmp_path):
    class Twice(Climbs):
        async def run(self, ctx):
            plain = await ctx.evaluate(ctx.student, ctx.val)
            traced = await ctx.evaluate(ctx.student, ctx.val, trace=True)
            assert traced.values == plain.values
            assert all(row.trace for row in traced)
            return ctx.student

    here = await compiled("here", optimizer=Twice(right))
    there = await compiled("there", Inside(), optimizer=Twice(right))
    assert there.ledger.calls == here.ledger.calls
    assert there.ledger.paid == here.ledger.paid == 12
    assert lines(tmp_path / "there") == lines(tmp_path / "here")


async def test_a_metric_is_given_the_trace_and_typed_values(compiled):
    seen = []

    def looks(example, prediction, trace=None):
        if trace is not None:
            seen.append([(type(part).__name__, dict(inputs), made.answer) for part, inputs, made in trace])
        return right(example, prediction)

    await compiled("run", Inside(), optimizer=Climbs(looks))
    assert seen
    for ((kind, inputs, answer),) in seen:
        assert (kind, type(answer)) == ("Predict", int)
        assert inputs["question"].startswith("n=")


async def test_an_executor_that_fails_loses_nothing_and_the_run_goes_on_without_it(compiled, tmp_path):
    whole = await compiled("whole")
    before = len(notes(tmp_path / "calls"))
    with pytest.raises(dspex.ExecutorFailed, match="ConnectionError: the cluster is gone"):
        await compiled("run", Inside(20))
    again = await compiled("run")
    assert again.dump_state() == whole.dump_state()
    assert len(notes(tmp_path / "calls")) - before == whole.ledger.paid
    assert again.ledger.reused >= 12  # eight of them run at once, and what had not come back was not made


async def test_a_search_inside_another_goes_the_same_way(compiled, tmp_path):
    class Outer(Climbs):
        async def run(self, ctx):
            found = await ctx.compile(Climbs(right), ctx.student, label="inner")
            return ctx.consider(found, "found")

    executor = Inside()
    here = await compiled("here", optimizer=Outer(right))
    there = await compiled("there", executor, optimizer=Outer(right))
    assert there.dump_state() == here.dump_state()
    assert lines(tmp_path / "there") == lines(tmp_path / "here")
    assert sum(len(chunk.tasks) for chunk in executor.chunks) > 12


async def test_a_program_that_cannot_leave_is_refused_before_a_folder_is_made(app, tmp_path):
    class Local(dspex.Module):
        def forward(self, question):
            return dspex.Prediction(answer=1)

    with pytest.raises(dspex.ConfigurationError, match="at least one predictor"):
        await Climbs(right).acompile(Local(), trainset=questions(3), run_dir=tmp_path / "run", executor=Inside())
    student = dspex.Predict("question -> answer: int")
    student.demo_selector = lambda inputs, demos: demos
    with (
        dspex.context(lm=dspex.LM("errands/noted", provider=Noted())),
        pytest.raises(dspex.ConfigurationError, match="would not make the same Predict again"),
    ):
        await Climbs(right).acompile(student, trainset=questions(3), run_dir=tmp_path / "run", executor=Inside())
    assert not (tmp_path / "run").exists()


async def test_an_unknown_executor_is_named_with_those_that_are_installed(compiled):
    with pytest.raises(dspex.ConfigurationError, match="No executor 'nowhere', asked for by executor='nowhere'"):
        await Climbs(right).acompile(Doubles(), trainset=questions(3), executor="nowhere")


async def test_cancelling_gives_the_best_so_far_and_ends_what_is_elsewhere(compiled, app, tmp_path):
    executor, log = Inside(), tmp_path / "calls"
    data = {"trainset": questions(16, log), "valset": questions(12, log, 100), "holdout": 0}
    job = Climbs(right).start(Doubles(), run_dir=tmp_path / "run", executor=executor, **data)
    async for _ in job.events():
        if len(notes(log)) >= 25:
            break
    job.cancel(grace=0.0)
    program = await job
    assert job.status in ("cancelled", "done")
    assert program.evidence.stopped == job.status
    await executor.place.aclose()
