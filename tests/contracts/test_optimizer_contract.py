"""The kit for optimizers: a good one passes all of it, and each kind of bad one fails the test that is about it."""

import asyncio
import itertools
import sys

import pytest

import dspex
from dspex.testing.optimizer_contract import OptimizerContract

TESTS = [name for name in vars(OptimizerContract) if name.startswith("test_")]


class Good(dspex.Optimizer):
    """Some sets of demos, bootstrapped side by side, and the best of them."""

    def __init__(self, metric):
        self.metric = metric

    def estimate(self, shape):
        runs = shape.calls_per_run
        return dspex.Estimate(task=dspex.Range(0, 4 * shape.val * runs), teacher=dspex.Range(0, 3 * shape.train * runs))

    async def run(self, ctx):
        made = await ctx.gather(*(self.one(ctx, seed) for seed in range(3)))
        return (await ctx.race([ctx.consider(ctx.student, "student"), *made], ctx.val, z=1.64)).winner

    async def one(self, ctx, seed):
        train = list(ctx.train)
        ctx.rng(f"shuffle/{seed}").shuffle(train)
        got = await ctx.collect(ctx.student, train, 2)
        return ctx.consider(self.shown(ctx, [step for one in got for step in one.trace]), f"set {seed}")

    @staticmethod
    def shown(ctx, steps):
        return ctx.student.with_demos(
            {
                path: tuple(dspex.Demo({**one.inputs, **one.outputs}, True) for one in steps if one.predictor == path)
                for path in ctx.student.predictors
            }
        )

    @staticmethod
    def labelled(ctx, examples):
        demos = tuple(dspex.Demo({"question": one.question, "hint": "h", "answer": one.answer}) for one in examples)
        return ctx.consider(ctx.student.with_demos(dict.fromkeys(ctx.student.predictors, demos)), "labelled")


class LooksAtTheClock(Good):
    async def run(self, ctx):
        await ctx.evaluate(ctx.student, ctx.val)
        return self.labelled(ctx, ctx.train[: 1 + int(10 * asyncio.get_running_loop().time()) % 9])


class GoesThroughASet(Good):
    async def run(self, ctx):
        first = next(iter({one.question for one in ctx.train}))
        return self.labelled(ctx, [one for one in ctx.train if one.question == first])


class CountsItsRuns(Good):
    runs = itertools.count(1)

    async def run(self, ctx):
        await ctx.evaluate(ctx.student, ctx.val)
        return self.labelled(ctx, ctx.train[: 1 + next(self.runs) % 5])


class CallsBesideTheContext(Good):
    async def run(self, ctx):
        for one in ctx.train:
            await dspex.Predict("question -> hint").acall(question=one.question)
        return await super().run(ctx)


class EstimatesTooLow(Good):
    def estimate(self, shape):
        return dspex.Estimate(task=dspex.Range(0, shape.val))


class ShowsHeldExamples(Good):
    async def run(self, ctx):
        kept_by_itself = dspex.Example(question="n=900", answer="1800").with_inputs("question")
        made = self.labelled(ctx, [*ctx.train[:1], kept_by_itself])
        await ctx.evaluate(made, ctx.val)
        return made


class LeavesATask(Good):
    async def run(self, ctx):
        self._kept = asyncio.create_task(asyncio.sleep(1e6))
        return await super().run(ctx)


class WorksOnTheStudent(Good):
    async def acompile(self, student, **options):
        program = await super().acompile(student, **options)
        student.load_state(program.dump_state())
        student.hint.demos = [{"question": "n=1", "hint": "h"}]
        return program


class StumblesOverFailures(Good):
    async def run(self, ctx):
        rows = await ctx.evaluate(ctx.student, ctx.val)
        assert all(row.outputs["answer"] for row in rows)
        return ctx.student


class TakesAnything(Good):
    def start(self, student, *, no_such_argument=None, **options):
        return super().start(student, **options)


class AddsAPart(Good):
    async def acompile(self, student, **options):
        program = await super().acompile(student, **options)
        program.extra = dspex.Predict("a -> b")
        return program


class RemembersTheFirstRun(Good):
    known = ()

    async def run(self, ctx):
        self.known = self.known or ctx.train
        return self.labelled(ctx, self.known)


class GoesOnWhenAborted(Good):
    async def run(self, ctx):
        try:
            return await super().run(ctx)
        except asyncio.CancelledError:
            await ctx.evaluate(ctx.student, ctx.train)
            return ctx.student


class HasTwoMinds(Good):
    def compile(self, student, **options):
        return super().compile(student, seed=1, **options).reset_copy()


def kit(optimizer):
    class Kit(OptimizerContract):
        sizes, cuts = ((9, 6), (4, 8)), 8

        def make(self, metric, trainset):
            return optimizer(metric)

    Kit.__qualname__ = f"Test{optimizer.__name__}"  # it is found by this name in a process of its own
    Kit.__module__ = __name__
    Kit.__test__ = False
    setattr(sys.modules[__name__], Kit.__qualname__, Kit)
    return Kit


GOOD, HASHES = kit(Good), kit(GoesThroughASet)


@pytest.mark.parametrize("name", TESTS)
def test_a_good_optimizer_passes(name, tmp_path):
    getattr(GOOD(), name)(tmp_path)


@pytest.mark.parametrize(
    ("made", "about"),
    [
        (kit(LooksAtTheClock), "delays_and_concurrency"),
        (HASHES, "order_of_hashes"),
        (kit(CountsItsRuns), "goes_on_from_every_record"),
        (kit(CountsItsRuns), "killed_by_kill_9"),
        (kit(CallsBesideTheContext), "killed_by_kill_9"),
        (kit(CallsBesideTheContext), "goes_on_from_every_record"),
        (kit(CallsBesideTheContext), "a_budget_of_calls"),
        (kit(EstimatesTooLow), "estimate"),
        (kit(ShowsHeldExamples), "no_held_example"),
        (kit(LeavesATask), "leaves_no_task"),
        (kit(WorksOnTheStudent), "not_touched"),
        (kit(StumblesOverFailures), "examples_that_fail"),
        (kit(TakesAnything), "wrong_arguments"),
        (kit(AddsAPart), "saved_program"),
        (kit(HasTwoMinds), "all_forms"),
        (kit(RemembersTheFirstRun), "leaves_nothing"),
        (kit(GoesOnWhenAborted), "aborted"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__qualname__.removeprefix("Test"),
)
@pytest.mark.filterwarnings("ignore:.*is not deterministic:RuntimeWarning")
def test_a_bad_optimizer_fails_the_test_that_is_about_it(made, about, tmp_path):
    [name] = [name for name in TESTS if about in name]
    with pytest.raises((AssertionError, KeyError, dspex.BudgetExceeded)):
        getattr(made(), name)(tmp_path)
