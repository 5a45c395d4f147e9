"""What a run knows of how a model weighed the choices of an output, and what it pays to weigh them otherwise."""

from math import log

import dspex
from dspex.plugin import Capabilities, Choice, LMResponse, Usage

STUDENT = "question -> size: Literal['low', 'high']"


class Weighing:
    """Takes every number for `low`, and shows how likely it was."""

    capabilities = Capabilities(chat=True, logprobs=True)

    def __init__(self):
        self.calls = 0

    async def complete(self, request):
        self.calls += 1
        pieces = ["[[ ## size ## ]]\n", "low", "\n\n[[ ## completed ## ]]"]
        rows = [{"token": piece, "logprob": 0.0} for piece in pieces]
        rows[1]["top_logprobs"] = [{"token": "low", "logprob": log(0.6)}, {"token": "high", "logprob": log(0.4)}]
        return LMResponse((Choice("".join(pieces), logprobs={"content": rows}),), Usage(5, 1))


class Biased(dspex.Optimizer):
    """Scores the student with biases of several sizes, traced."""

    def __init__(self, metric):
        self.metric = metric

    async def run(self, ctx):
        made = [
            ctx.consider(ctx.student.with_params({"self": {"choice_bias": {"size": {"high": size}}}}), f"{size}")
            for size in (0.0, 0.5, 1.0)
        ]
        self._scores = await ctx.evaluate_all([(one, ctx.val) for one in made], trace=True)
        return made[1]


async def compiled(lab, tmp_path, model):
    rows = [dspex.Example(question=f"n={n}", size="high").with_inputs("question") for n in range(4)]
    optimizer = Biased(lambda example, prediction, trace=None: example.size == prediction.size)
    with dspex.context(lm=dspex.LM("house/weighing", provider=model, cache=False)):
        program = await optimizer.acompile(dspex.Predict(STUDENT), trainset=rows, holdout=0, run_dir=tmp_path / "run")
    return program, optimizer._scores


async def test_a_trace_has_the_log_probabilities_of_the_choices(lab, app, tmp_path):
    _, scores = await compiled(lab, tmp_path, Weighing())
    for rows in scores:
        assert [step.scores for row in rows for step in row.trace] == [{"size": {"low": 0.0, "high": log(0.4)}}] * 4


async def test_how_large_a_bias_is_decides_what_is_read_of_the_same_replies(lab, app, tmp_path):
    model = Weighing()
    program, scores = await compiled(lab, tmp_path, model)
    assert model.calls == 4
    assert [rows.mean for rows in scores] == [0.0, 0.0, 1.0]
    assert program.ledger.calls == 4  # as its budget counts them, too
    again = Weighing()
    repeated, _ = await compiled(lab, tmp_path, again)
    assert again.calls == 0
    assert repeated.evidence == program.evidence


async def test_a_teacher_s_biases_are_not_the_student_s(lab, app, tmp_path):
    class Looking(Biased):
        async def run(self, ctx):
            own = await ctx.evaluate(ctx.student, ctx.val)
            taught = await ctx.evaluate(ctx.teacher, ctx.val, role="teacher")
            self._means = own.mean, taught.mean
            return ctx.student

    rows = [dspex.Example(question=f"n={n}", size="high").with_inputs("question") for n in range(4)]
    optimizer, teacher = Looking(lambda example, prediction: example.size == prediction.size), dspex.Predict(STUDENT)
    teacher.choice_bias = {"size": {"high": 5.0}}
    with dspex.context(lm=dspex.LM("house/weighing", provider=Weighing(), cache=False)):
        program = await optimizer.acompile(dspex.Predict(STUDENT), trainset=rows, teacher=teacher, holdout=0)
    assert optimizer._means == (0.0, 1.0)
    assert program.choice_bias is None
