"""What an algorithm is told: of the metric, of the predictors, of the budget that is left to it."""

import pytest

import dspex
from dspex.evaluate import SemanticF1, answer_exact_match


def told(lab, found):
    """An optimizer that keeps what the function finds in its context."""

    class Asking(lab.Search):
        async def run(self, ctx):
            self.found = await found(ctx)
            return ctx.student

    return Asking


def truth(example, prediction, trace=None) -> bool:
    return True


def late(example, prediction, trace=None) -> "bool":
    return True


def graded(example, prediction, trace=None) -> float:
    return 0.5


def unsaid(example, prediction, trace=None):
    return 1


def coached(gold, pred, trace=None, pred_name=None, pred_trace=None):
    return dspex.Prediction(score=1, feedback="good")


def stars(example, prediction, trace=None) -> float:
    return 4.0


stars.lower, stars.upper = 1, 5


@pytest.mark.parametrize(
    ("metric", "binary", "bounds", "gives_feedback"),
    [
        (truth, True, (0, 1), False),
        (late, True, (0, 1), False),
        (graded, None, (None, None), False),
        (unsaid, None, (None, None), None),
        (answer_exact_match, True, (0, 1), False),
        (coached, None, (None, None), True),
        (stars, None, (1, 5), False),
        (SemanticF1(), None, (0, 1), None),
        (None, None, (None, None), None),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_what_a_metric_says_of_itself_is_known(lab, app, metric, binary, bounds, gives_feedback):
    async def look(ctx):
        return ctx.metric

    optimizer = told(lab, look)(metric=metric, metric_threshold=0.7)
    await lab.compiled(lab.Model(), optimizer=optimizer)
    found = optimizer.found
    assert (found.binary, (found.lower, found.upper), found.gives_feedback) == (binary, bounds, gives_feedback)
    assert found.threshold == 0.7


@pytest.mark.parametrize(
    ("slip", "says"),
    [
        (lambda ctx: ctx.evaluate(ctx.student, ctx.val, role="judge"), r"ctx\.evaluate\(role='judge'\): the roles of"),
        (lambda ctx: ctx.race([], ctx.val), "no candidates"),
        (
            lambda ctx: ctx.ask("role, question -> answer", role="you", question="?"),
            "the input 'role' of 'role, question",
        ),
        (lambda ctx: ctx.ask("text, n: int, sample -> answer", text="?", n=2, sample="x"), "the input 'n' of"),
        (None, "run gave 'a winner': it has to give a Candidate"),
    ],
    ids=["role", "race", "an input called role", "an input called n", "result"],
)
async def test_a_slip_of_an_algorithm_is_named_and_not_tried_again(lab, app, slip, says):
    lives = []

    class Slips(lab.Search):
        async def run(self, ctx):
            lives.append(ctx)
            return await slip(ctx) if slip is not None else "a winner"

    with pytest.raises(dspex.ConfigurationError, match=says):
        await lab.compiled(lab.Model(), optimizer=Slips())
    assert len(lives) == 1


class Helper(dspex.Module):
    """Three predictors, of which two choose tools."""

    def __init__(self):
        super().__init__()
        self.plan = dspex.Predict("question -> steps: list[str]")
        self.call = dspex.Predict("question, tools: list[dspex.Tool] -> calls: dspex.ToolCalls")
        self.workers = {"first": Worker()}

    async def aforward(self, question):
        return await self.plan.acall(question=question)


class Worker(dspex.Module):
    def __init__(self):
        super().__init__()
        self.tools = {"search": dspex.Tool(len)}
        self.step = dspex.Predict("question -> next_tool: str")


async def test_predictors_are_told_with_their_fields_and_whether_they_choose_tools(lab, app):
    async def look(ctx):
        return ctx.predictors

    optimizer = told(lab, look)(metric=None)
    student = Helper()
    student.plan.signature = student.plan.signature.with_instructions("Plan first.")
    with dspex.context(lm=lab.Model().lm):
        await optimizer.acompile(student, **lab.DATA)
    found = optimizer.found
    assert [(one.name, one.is_tool) for one in found] == [
        ("plan", False),
        ("call", True),
        ("workers['first'].step", True),
    ]
    assert [(field.name, field.type_text) for field in found[0].fields] == [("question", "str"), ("steps", "list[str]")]
    assert found[0].signature.instructions == "Plan first."


async def test_what_has_no_limit_has_none_in_a_branch_too(lab, app):
    async def look(ctx):
        left = [await ctx.remaining(), *await ctx.gather(*(ctx.remaining() for _ in range(3)))]
        return [(one.calls, one.tokens, one.usd) for one in left]

    optimizer = told(lab, look)()
    await lab.compiled(lab.Model(), optimizer=optimizer)
    assert set(optimizer.found) == {(None, None, None)}
    await lab.compiled(lab.Model(), optimizer=optimizer, budget=dspex.Budget(calls=90, on_short="stop"))
    assert optimizer.found == [(90, None, None), *[(30, None, None)] * 3]


def first_only(inputs, demos):
    return demos[:1]


def choosing(selector, count=4):
    """A program that shows some of its demonstrations."""
    program = dspex.Predict("question -> answer")
    program.demos = [{"question": f"n={n}", "answer": str(2 * n)} for n in range(600, 600 + count)]
    program.demo_selector = selector
    return program


@pytest.mark.parametrize("selector", [dspex.NearestDemos(1), first_only], ids=["nearest", "a function"])
async def test_demos_that_an_algorithm_sets_are_all_shown_unless_it_keeps_what_chooses(lab, app, selector):
    model = lab.Model()

    async def look(ctx):
        demos = {"self": tuple(dspex.Demo(one.toDict(), origin=ctx.key_of(one)) for one in ctx.train[:3])}
        student = ctx.student
        made = [student.with_demos(demos), student.with_demos(demos, keep_selector=True), student]
        shown = []
        for one in [*made, student.with_instructions({"self": "Double it."})]:
            await ctx.evaluate(one, ctx.val[:1])
            shown.append(model.prompts[-1].count("n=") - 1)
        return shown

    optimizer = told(lab, look)()
    with dspex.context(lm=model.lm):
        program = await optimizer.acompile(choosing(selector), **lab.DATA)
    assert optimizer.found == [3, 1, 1, 1]
    assert program.demo_selector is not None


async def test_what_chooses_a_teacher_s_demos_does_not_choose_the_student_s(lab, app):
    model = lab.Model()

    async def look(ctx):
        await ctx.evaluate(ctx.student, ctx.val[:1])
        await ctx.evaluate(ctx.teacher, ctx.val[1:2], role="teacher")
        return [prompt.count("n=") - 1 for prompt in model.prompts]

    optimizer = told(lab, look)()
    with dspex.context(lm=model.lm):
        program = await optimizer.acompile(choosing(None), teacher=choosing(dspex.NearestDemos(1)), **lab.DATA)
    assert optimizer.found == [4, 1]
    assert program.demo_selector is None


@pytest.mark.parametrize("other", [None, dspex.NearestDemos(2), first_only], ids=["none", "two", "a function"])
async def test_another_way_to_choose_demos_is_another_run(lab, app, tmp_path, other):
    async def look(ctx):
        return None

    options = {**lab.DATA, "run_dir": tmp_path / "run"}
    with dspex.context(lm=lab.Model().lm):
        await told(lab, look)().acompile(choosing(dspex.NearestDemos(1)), **options)
        await told(lab, look)().acompile(choosing(dspex.NearestDemos(1)), **options)
        with pytest.raises(dspex.JournalError, match="student differs"):
            await told(lab, look)().acompile(choosing(other), **options)
