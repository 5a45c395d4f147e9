"""Runs with their traces inside a search, and what an algorithm gives to the program that is returned."""

import dspex
from dspex.plugin import LMResponse


class Two(dspex.Module):
    """Two predictors, the second of which reads what the first one wrote."""

    def __init__(self):
        super().__init__()
        self.hint = dspex.Predict("question -> hint")
        self.final = dspex.Predict("question, hint -> answer: int")

    async def aforward(self, question):
        hint = await self.hint.acall(question=question)
        return await self.final.acall(question=question, hint=hint.hint)


class Mute:
    """Gives hints, and no answer to n=1."""

    def __init__(self, model):
        self.capabilities, self.model = model.capabilities, model

    async def complete(self, request):
        asked = request.messages[-1].text
        if "twice it" not in asked:
            return LMResponse.from_text("[[ ## hint ## ]]\ntwice it")
        return LMResponse.from_text("no idea") if "n=1" in asked else await self.model.complete(request)


async def searched(lab, run, student="question -> answer", **options):
    """What a search by that function gives."""

    class Scripted(lab.Search):
        async def run(self, ctx):
            return await run(ctx) or ctx.student

    program = dspex.Predict(student) if isinstance(student, str) else student
    optimizer = Scripted(options.pop("metric", lab.right))
    return await optimizer.acompile(program, trainset=lab.examples(4), holdout=0, **options)


async def test_a_run_that_could_not_be_read_keeps_its_calls_and_the_reply(lab, app):
    seen = []

    async def run(ctx):
        seen.extend([(await ctx.evaluate(ctx.student, ctx.train, trace=True)).rows[1] for _ in range(2)])

    mute = dspex.LM("mute", provider=Mute(lab.Model()), cache=False, num_retries=0)
    with dspex.context(lm=mute, max_reasks=0):
        await searched(lab, run, Two())
    row, again = seen
    assert row == again
    assert not row.ok
    hint, broken = row.trace
    assert (hint.predictor, hint.outputs, hint.reply) == ("hint", {"hint": "twice it"}, None)
    assert (broken.predictor, broken.inputs, broken.outputs) == ("final", {"question": "n=1"}, {})
    assert broken.reply == "no idea"


async def test_candidates_are_compared_by_scores_without_a_trace(lab, app):
    def strict(example, prediction, trace=None):
        return 0.0 if trace is not None else 0.5

    async def run(ctx):
        ctx.consider(ctx.student, "student")
        await ctx.evaluate(ctx.student, ctx.train)
        assert (await ctx.evaluate(ctx.student, ctx.train, trace=True)).mean == 0.0

    with dspex.context(lm=lab.Model().lm):
        program = await searched(lab, run, metric=strict)
    assert program.candidate_programs[0]["subscores"] == [0.5] * 4


async def test_an_algorithm_can_say_something_and_give_the_program_something(lab, app):
    async def run(ctx):
        made = ctx.program(ctx.student.with_instructions({"self": "Be quick."}))
        ctx.attach(found=[made.signature.instructions])
        ctx.note("that was quick")

    with dspex.context(lm=lab.Model().lm):
        program = await searched(lab, run)
    assert program.found == ["Be quick."]
    assert "that was quick" in program.evidence.notes


async def test_a_computation_by_another_function_is_another_one(lab, app, tmp_path):
    def made_by(rule):
        async def run(ctx):
            assert await ctx.compute("rule", lambda _: rule(3), 3, version=rule) == rule(3)

        return run

    with dspex.context(lm=lab.Model().lm):
        await searched(lab, made_by(lambda n: n + 1), run_dir=tmp_path / "run")
        await searched(lab, made_by(lambda n: n * 2), run_dir=tmp_path / "other", fork=tmp_path / "run")


async def test_a_metric_may_give_a_dictionary(lab, app):
    rows = []

    async def run(ctx):
        rows.extend(await ctx.evaluate(ctx.student, ctx.train))

    with dspex.context(lm=lab.Model().lm):
        await searched(lab, run, metric=lambda example, made: {"score": 0.25, "feedback": "so so"})
    assert {(row.score, row.feedback) for row in rows} == {(0.25, "so so")}
