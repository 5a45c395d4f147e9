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


WRONG = {
    "no estimate": ({"estimate": lambda self, shape: None}, "Wrong.estimate gave None"),
    "a number for a range": ({"estimate": lambda self, shape: dspex.Estimate(task=5)}, "with a Range by role"),
    "no parts": ({"parts": lambda self, train, val, rng: None}, "Wrong.parts gave None: it has to give two lists"),
    "one part": ({"parts": lambda self, train, val, rng: train}, "two lists"),
    "parts of other examples": ({"parts": lambda self, train, val, rng: (train, [dspex.Example(a=1)])}, "it was given"),
    "a plain function": ({"run": lambda self, ctx: ctx.student}, r"it has to be `async def run\(self, ctx\)`"),
    "the key of a candidate": (
        {"run": lambda self, ctx: ctx.evaluate("student", ctx.val)},
        "evaluate was given 'student'",
    ),
    "no examples": ({"run": lambda self, ctx: ctx.evaluate(ctx.student, None)}, "evaluate was given None: examples"),
    "one example": ({"run": lambda self, ctx: ctx.evaluate(ctx.student, ctx.val[0])}, "'question' is no Example"),
    "dictionaries": ({"run": lambda self, ctx: ctx.evaluate(ctx.student, [{"question": "?"}])}, "is no Example"),
    "nothing to consider": ({"run": lambda self, ctx: ctx.consider(None, "x")}, "consider was given None"),
    "another predictor": (
        {"run": lambda self, ctx: ctx.student.with_instructions({"slef": "Be brief."})},
        "'slef' is no predictor of this program, which has 'self'. Did you mean 'self'?",
    ),
    "no text": ({"run": lambda self, ctx: ctx.student.with_instructions({"self": None})}, "texts by predictor"),
    "a text for all": ({"run": lambda self, ctx: ctx.student.with_instructions("Be brief.")}, "not 'Be brief.'"),
}


@pytest.mark.parametrize(("methods", "message"), WRONG.values(), ids=WRONG)
async def test_a_slip_in_an_optimizer_is_told_in_its_own_words(lab, app, methods, message):
    wrong = type("Wrong", (Halving,), methods)
    with pytest.raises(dspex.ConfigurationError, match=message):
        await compiled(lab, wrong(lab.right))


async def test_a_plain_function_for_run_inside_another_optimizer_is_told_too(lab, app):
    plain = type("Plain", (Halving,), {"run": lambda self, ctx: ctx.student})
    with pytest.raises(dspex.EvaluationError, match=r"Plain inside inner: .*async def run"):
        await compiled(lab, Halving(lab.right, plain(lab.right)))


OPTIONS = {
    "trainset": [None, "examples", {"question": "?"}],
    "valset": ["examples", 3],
    "teacher": [5, ["teacher"]],
    "keep": ["all"],
    "run_dir": [5],
    "fork": [5],
    "budget": [5, {"calls": 5}],
    "seed": ["one", 0.5],
    "warm_start": [7, [7]],
    "group": [3, "nothing that examples have"],
    "num_threads": [0, -1, "four"],
    "max_errors": [-1, "none"],
}


@pytest.mark.parametrize(("name", "value"), [(name, one) for name, several in OPTIONS.items() for one in several])
def test_an_option_that_cannot_be_meant_is_refused_before_anything_is_done(lab, app, tmp_path, name, value):
    optimizer, options = Halving(lab.right), {"trainset": lab.examples(20), "run_dir": tmp_path / "run", name: value}
    with pytest.raises(dspex.ConfigurationError, match=f"^{name}="):
        optimizer.compile(dspex.Predict("question -> answer"), **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lm", ["openai/gpt-4o-mini", dspex.LM])
def test_what_is_no_lm_is_told_before_a_run_is_begun(lab, app, tmp_path, lm):
    with dspex.context(lm=lm), pytest.raises(dspex.ConfigurationError, match=r"An LM is a dspex\.LM"):
        Halving(lab.right).compile(
            dspex.Predict("question -> answer"), trainset=lab.examples(20), run_dir=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
