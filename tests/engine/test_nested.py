"""An optimizer inside another: what its failure means, what it may see, and whose model runs."""

import pytest

import dspex


class Slipping(dspex.Optimizer):
    """Runs some examples, then raises."""

    async def run(self, ctx):
        await ctx.evaluate(ctx.student, ctx.val[:6])
        raise KeyError("a slip")


class Tolerant(dspex.Optimizer):
    """Goes on without what failed; side by side with something else, if asked for."""

    def __init__(self, metric, inner, beside=False):
        self.metric = metric
        self.inner = inner
        self.beside = beside

    async def run(self, ctx):
        if self.beside:
            await ctx.gather(self.tried(ctx), ctx.evaluate(ctx.student, ctx.train[:8]))
        else:
            await self.tried(ctx)
        demos = tuple(dspex.Demo(one.toDict(), origin=ctx.key_of(one)) for one in ctx.train[:2])
        made = ctx.consider(ctx.student.with_demos({"self": demos}), "after")
        await ctx.evaluate_all([(ctx.student, ctx.val), (made, ctx.val)])
        ctx.attach(tried=True)
        return made

    async def tried(self, ctx):
        try:
            await ctx.compile(self.inner, ctx.student, label="inner")
        except dspex.EvaluationError as error:
            ctx.note(str(error))


async def test_a_run_goes_on_after_an_optimizer_inside_it_has_failed_and_so_does_its_replay(lab, app, tmp_path):
    first, second = lab.Model(), lab.Model()
    optimizer = Tolerant(lab.right, Slipping())
    program = await lab.compiled(first, optimizer=optimizer, run_dir=tmp_path / "run")
    again = await lab.compiled(second, optimizer=optimizer, run_dir=tmp_path / "run")
    assert second.prompts == []
    assert program.tried
    assert again.tried
    assert any(note == "Slipping inside inner: KeyError: 'a slip'" for note in program.evidence.notes)
    assert lab.saved(again, tmp_path) == lab.saved(program, tmp_path)


async def test_from_a_branch_a_failure_ends_the_run_as_other_branches_have_been_ended(lab, app, tmp_path):
    def broken(example, prediction):
        raise KeyError("label")

    optimizer = Tolerant(lab.right, lab.Search(metric=broken), beside=True)
    with pytest.raises(dspex.EvaluationError, match="The first 3 examples all fail"):
        await lab.compiled(lab.Model(), optimizer=optimizer, run_dir=tmp_path / "run")


async def test_without_a_model_the_run_ends_and_the_same_call_goes_on(lab, app, tmp_path):
    async def down(number, text):
        raise dspex.Unavailable("down by script")

    optimizer = Tolerant(lab.right, lab.Search())
    with pytest.raises(dspex.EvaluationError, match="found no model"):
        await lab.compiled(lab.Model(down), optimizer=optimizer, run_dir=tmp_path / "run")
    program = await lab.compiled(lab.Model(), optimizer=optimizer, run_dir=tmp_path / "run")
    assert not any("inside inner" in note for note in program.evidence.notes)


class Teachers(dspex.Optimizer):
    """Runs student and teachers."""

    takes_teachers = True
    metric = None

    async def run(self, ctx):
        await ctx.evaluate(ctx.student, ctx.train[:1])
        for teacher in ctx.teachers:
            await ctx.evaluate(teacher, ctx.train[:1], role="teacher")
        return ctx.student


async def test_a_teacher_that_differs_by_its_model_only_runs_on_that_model(lab, app):
    student, models = dspex.Predict("question -> answer"), [lab.Model(), lab.Model(), lab.Model()]
    teachers = [student.deepcopy(), student.deepcopy()]
    for teacher, model, name in zip(teachers, models[1:], ("one", "two"), strict=True):
        teacher.set_lm(dspex.LM(name, provider=model, cache=False))
    with dspex.context(lm=models[0].lm):
        await Teachers().acompile(student, trainset=lab.examples(3), teacher=teachers)
    assert [len(model.prompts) for model in models] == [1, 1, 1]


async def test_several_teachers_are_refused_where_one_is_wanted(lab, app):
    student = dspex.Predict("question -> answer")
    with pytest.raises(dspex.ConfigurationError, match="Search takes one teacher, not 2"):
        await lab.compiled(lab.Model(), teacher=[student, student])
