"""What an optimizer may make of the data that it is given, and what its estimate knows."""

from types import MappingProxyType

import pytest

import dspex


class Halving(dspex.Optimizer):
    """Validates on three examples, drawn from the second half of the trainset unless it is given others."""

    compile_arguments = MappingProxyType({"rounds": 1})

    def __init__(self, metric, inner=None):
        self.metric = metric
        self.inner = inner

    def parts(self, train, val, rng):
        if not val:
            train, val = train[: len(train) // 2], train[len(train) // 2 :]
        return train, rng.sample(val, 3)

    def estimate(self, shape):
        return dspex.Estimate(task=dspex.Range(0, shape.val * shape.arguments["rounds"]))

    async def run(self, ctx):
        if self.inner is not None:
            return await ctx.compile(self.inner, ctx.student, label="inner", train=ctx.train)
        ctx.attach(sizes=(len(ctx.train), len(ctx.val)), numbers=[int(one.question[2:]) for one in ctx.val])
        await ctx.evaluate(ctx.consider(ctx.student, "student"), ctx.val)
        return ctx.student


def compiled(lab, optimizer, count=20, **options):
    data = {"trainset": lab.examples(count), "holdout": 0, **options}
    return lab.compiled(lab.Model(), optimizer=optimizer, valset=None, **data)


async def test_an_optimizer_says_how_its_data_is_parted(lab, app):
    programs = [await compiled(lab, Halving(lab.right), seed=seed) for seed in (1, 1, 2)]
    drawn = [program.numbers for program in programs]
    assert programs[0].sizes == (10, 3)
    assert all(10 <= number < 20 for number in drawn[0])
    assert drawn[0] == drawn[1] != drawn[2]


async def test_held_examples_are_set_apart_before_the_data_is_parted(lab, app):
    model = lab.Model()
    data = {"trainset": lab.examples(20), "valset": None, "holdout": lab.examples(4, 900)}
    program = await lab.compiled(model, optimizer=Halving(lab.right), **data)
    assert program.sizes == (10, 3)
    assert len(model.prompts) == 3


async def test_an_optimizer_inside_another_parts_what_it_is_given(lab, app):
    model = lab.Model()
    outer = Halving(lab.right, Halving(lab.right))
    with dspex.context(lm=model.lm):
        await outer.acompile(dspex.Predict("question -> answer"), trainset=lab.examples(20), holdout=0)
    numbers = sorted(int(text.rsplit("n=", 1)[1].split()[0]) for text in model.prompts)
    assert len(numbers) == 3
    assert all(5 <= number < 10 for number in numbers)


async def test_an_estimate_knows_the_arguments_of_compile(lab, app):
    program = dspex.Predict("question -> answer")
    with dspex.context(lm=lab.Model().lm):
        quotes = [Halving(lab.right).quote(program, trainset=lab.examples(20), rounds=rounds) for rounds in (1, 7)]
        assert [quote.calls for quote in quotes] == [3, 21]
        with pytest.raises(dspex.BudgetExceeded):
            await Halving(lab.right).acompile(
                program, trainset=lab.examples(20), rounds=7, budget=dspex.Budget(calls=20)
            )
