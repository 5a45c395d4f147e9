"""A compile or an evaluation that is played from a cassette: what that does not have ends it, and is no failed example."""

import pytest

import dspex


class Nested(dspex.Optimizer):
    """Goes on where what it holds fails."""

    def __init__(self, metric, inner):
        self.metric, self.inner = metric, inner

    async def run(self, ctx):
        try:
            return await ctx.compile(self.inner, ctx.student, label="inner")
        except dspex.EvaluationError as error:
            ctx.note(str(error))
            return ctx.student


class Asking(dspex.Optimizer):
    """Asks its model something."""

    def __init__(self, metric, question):
        self.metric, self.question = metric, question

    async def run(self, ctx):
        await ctx.ask("question -> answer", question=self.question)
        return ctx.student


class Looking(dspex.Optimizer):
    """Runs the program as it is."""

    def __init__(self, metric):
        self.metric = metric

    async def run(self, ctx):
        await ctx.evaluate(ctx.consider(ctx.student, "as it is"), ctx.val)
        return ctx.student


class Calm(dspex.Module):
    """A program that answers something where its model fails."""

    def __init__(self):
        super().__init__()
        self.part = dspex.Predict("question -> answer")

    async def aforward(self, question):
        try:
            return await self.part.acall(question=question)
        except dspex.DspexError:
            return dspex.Prediction(answer="nothing")


def searches(lab, ever):
    """Each with a question that was recorded, or with another."""
    return {
        "a search": lab.Search(want=2 if ever else 3),
        "one inside another": Nested(lab.right, lab.Search(want=2 if ever else 3)),
        "a question": Asking(lab.right, "n=1" if ever else "n=2"),
    }


@pytest.mark.parametrize("name", ["a search", "one inside another", "a question"])
async def test_a_missing_recording_ends_the_compile_and_is_no_failed_example(lab, app, tmp_path, name):
    path = tmp_path / "calls.jsonl"
    with dspex.cassette(path, mode="record"):
        await lab.compiled(lab.Model(), optimizer=searches(lab, True)[name])
    with dspex.cassette(path, mode="replay"), pytest.raises(dspex.CassetteMiss, match=r"calls\.jsonl"):
        await lab.compiled(lab.Model(), optimizer=searches(lab, False)[name])


async def test_a_program_that_goes_on_without_its_model_hides_no_missing_recording(lab, app, tmp_path):
    path, data = tmp_path / "calls.jsonl", {"trainset": lab.examples(4), "valset": lab.examples(4, 100)}
    with dspex.cassette(path, mode="record"), dspex.context(lm=lab.Model().lm):
        await Looking(lab.right).acompile(Calm(), **data)
    data["valset"] = lab.examples(4, 200)
    with (
        dspex.cassette(path, mode="replay"),
        dspex.context(lm=lab.Model().lm),
        pytest.raises(dspex.CassetteMiss, match="does not have this request"),
    ):
        await Looking(lab.right).acompile(Calm(), **data)


async def test_a_missing_recording_ends_an_evaluation(lab, app, tmp_path):
    path, program = tmp_path / "calls.jsonl", dspex.Predict("question -> answer")
    with dspex.cassette(path, mode="record"), dspex.context(lm=lab.Model().lm):
        made = await dspex.Evaluate(devset=lab.examples(4), metric=lab.right).acall(program)
    with dspex.cassette(path, mode="replay"), dspex.context(lm=lab.Model().lm):
        again = await dspex.Evaluate(devset=lab.examples(4), metric=lab.right).acall(program)
        with pytest.raises(dspex.CassetteMiss, match="does not have this request"):
            await dspex.Evaluate(devset=lab.examples(4, 900), metric=lab.right).acall(program)
    assert again.score == made.score
