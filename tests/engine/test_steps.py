"""Steps besides evaluations: questions, computations, times, other optimizers; all are journalled and replayed."""

import asyncio
import threading

import pytest

import dspex
from dspex.engine.options import Options
from dspex.engine.preparing import prepared
from dspex.plugin import LMResponse
from dspex.runtime.journal import FILE, replay
from dspex.runtime.records import Call, Step


def algorithm(lab, run):
    """An optimizer whose algorithm is that function."""

    class Scripted(lab.Search):
        async def run(self, ctx):
            return await run(ctx) or ctx.student

    return Scripted()


async def twice(lab, tmp_path, run, **options):
    """The models of a run and of its replay; the algorithm's program must be the same."""
    models = lab.Model(), lab.Model()
    programs = []
    for model in models:
        optimizer = algorithm(lab, run)
        programs.append(await lab.compiled(model, optimizer=optimizer, run_dir=tmp_path / "run", **options))
    assert lab.saved(programs[0], tmp_path) == lab.saved(programs[1], tmp_path)
    assert programs[0].ledger.calls == programs[1].ledger.calls
    return models


# Questions


async def test_a_question_is_asked_once_and_answered_from_the_journal(lab, app, tmp_path):
    answers = []

    async def run(ctx):
        answers.append(await ctx.ask("question -> answer: int", question="n=4"))
        answers.append(await ctx.ask("question -> answer: int", question="n=4"))
        answers.append(await ctx.ask("question -> answer: int", question="n=4", sample=1, temperature=1.4))

    first, second = await twice(lab, tmp_path, run)
    assert len(first.prompts) == 2
    assert "temperature': 1.4" in first.prompts[1]
    assert second.prompts == []
    assert answers[0] == answers[1] == answers[3]
    assert isinstance(answers[0][0].answer, int)


async def test_several_answers_come_in_one_step(lab, app, tmp_path):
    seen = []

    async def run(ctx):
        seen.append([one.answer for one in await ctx.ask("question -> answer", question="n=4", n=3)])

    first, second = await twice(lab, tmp_path, run)
    assert len(first.prompts) == 3, "this wire has no n"
    assert second.prompts == []
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3


class Answers:
    """A provider that gives or raises this."""

    def __init__(self, answer):
        self.answer = answer

    async def complete(self, request):
        if isinstance(self.answer, Exception):
            raise self.answer
        return LMResponse.from_text(self.answer)


@pytest.mark.parametrize(
    ("answer", "says"),
    [(dspex.BadRequest("no"), "BadRequest"), ("I would rather not.", "AdapterParseError")],
    ids=["refused", "unreadable"],
)
async def test_an_answer_that_does_not_come_is_a_failure_and_not_the_end(lab, app, answer, says):
    async def run(ctx):
        got = await ctx.ask("question -> total: int", question="n=4", n=2)
        assert [type(one) for one in got] == [dspex.Failure, dspex.Failure]
        assert [one.kind for one in got] == [says] * 2
        assert says in got[0].error

    optimizer = algorithm(lab, run)
    optimizer.prompt_model = dspex.LM("answers", provider=Answers(answer), cache=False, num_retries=0)
    program = await lab.compiled(lab.Model(), optimizer=optimizer)
    assert program.evidence.stopped == "done"
    [told] = [note for note in program.evidence.notes if "had no answer" in note]
    assert told.startswith(f"1 of 1 questions of the role 'prompt' had no answer, as {says}: ")


@pytest.mark.parametrize(
    ("asked", "says"),
    [({"role": "judge", "question": "n=1"}, "the roles of this optimizer are task, "), ({"quest": "n=1"}, "quest")],
    ids=["role", "input"],
)
async def test_a_wrong_question_is_an_error(lab, app, asked, says):
    async def run(ctx):
        await ctx.ask("question -> answer", **asked)

    with pytest.raises(dspex.DspexError, match=says):
        await lab.compiled(lab.Model(), optimizer=algorithm(lab, run))


async def test_a_question_goes_to_the_model_of_its_role(lab, app):
    other = lab.Model()

    async def run(ctx):
        await ctx.ask("question -> answer", question="n=4")

    optimizer = algorithm(lab, run)
    optimizer.prompt_model = other.lm
    program = await lab.compiled(lab.Model(), optimizer=optimizer)
    assert len(other.prompts) == 1
    assert program.evidence.usage["prompt"]["calls"] == 1


async def test_examples_whose_text_is_in_a_question_are_not_untouched(lab, app):
    async def run(ctx):
        await ctx.ask("question -> answer", question="\n".join(one.question for one in ctx.train[:3]))
        assert {ctx.key_of(one) for one in ctx.train[:3]} <= ctx.steps.touched
        assert ctx.key_of(ctx.train[5]) not in ctx.steps.touched

    await lab.compiled(lab.Model(), optimizer=algorithm(lab, run), trainset=lab.examples(9, 10))


# Computations and times


async def test_a_computation_is_made_once(lab, app, tmp_path):
    made = []

    def total(numbers, factor):
        made.append(numbers)
        return {"total": sum(numbers) * factor}

    async def run(ctx):
        for _ in range(2):
            assert await ctx.compute("total", total, [1, 2], 3, version="1") == {"total": 9}
        assert await ctx.compute("total", total, [1, 2], 4, version="1") == {"total": 12}

    await twice(lab, tmp_path, run)
    assert len(made) == 2


async def test_a_computation_by_the_metrics_code_stays_on_the_loop_until_it_calls_a_model(lab, app):
    def here(_number, loop):
        return threading.get_ident() == loop

    def asks(_number, loop):
        dspex.Predict("question -> answer")(**lab.DATA["trainset"][0].inputs())
        return threading.get_ident() == loop

    async def run(ctx):
        loop, metric = threading.get_ident(), ctx.setup.metric
        assert await ctx.compute("apart", here, 1, loop) is False
        assert await ctx.compute("metric", here, 1, loop, version=metric) is True
        assert await ctx.compute("asks", asks, 1, loop, version=metric) is True
        assert await ctx.compute("metric", here, 2, loop, version=metric) is False

    await lab.compiled(lab.Model(), optimizer=algorithm(lab, run))


async def test_what_a_computation_asks_of_an_embedder_is_recorded(lab, app, tmp_path):
    asked = []

    def lengths(texts):
        asked.append(list(texts))
        return [[len(text), 1.0] for text in texts]

    embedder = dspex.Embedder(lengths, caching=False)
    stop = [True]

    async def vectors(texts):
        rows = await embedder.acall(texts)
        if stop.pop():
            raise dspex.EvaluationError("a slip after the call")
        return [list(row) for row in rows]

    async def run(ctx):
        assert await ctx.compute("vectors", vectors, ["a", "bb"]) == [[1.0, 1.0], [2.0, 1.0]]

    with pytest.raises(dspex.EvaluationError, match="a slip after the call"):
        await lab.compiled(lab.Model(), optimizer=algorithm(lab, run), run_dir=tmp_path / "run")
    stop.append(False)
    program = await lab.compiled(lab.Model(), optimizer=algorithm(lab, run), run_dir=tmp_path / "run")
    assert asked == [["a", "bb"]]
    assert program.ledger.calls == program.ledger.paid_before == program.ledger.reused == 1


@pytest.mark.parametrize("value", [object(), float("nan")], ids=["an object", "nan"])
async def test_a_computation_of_what_is_no_data_is_refused(lab, app, value):
    async def run(ctx):
        await ctx.compute("size", len, value)

    with pytest.raises(dspex.ConfigurationError, match=r"ctx\.compute\('size', \.\.\.\): its arguments"):
        await lab.compiled(lab.Model(), optimizer=algorithm(lab, run))


@pytest.mark.parametrize("value", [object(), float("nan"), {"deep": [float("inf")]}], ids=["an object", "nan", "inf"])
async def test_a_computation_that_gives_no_data_is_refused_and_not_made_again(lab, app, value):
    made = []

    def give():
        made.append(value)
        return value

    async def run(ctx):
        await ctx.compute("give", give)

    with pytest.raises(dspex.ConfigurationError, match=r"ctx\.compute\('give', \.\.\.\) gave .* no JSON data"):
        await lab.compiled(lab.Model(), optimizer=algorithm(lab, run))
    assert len(made) == 1


async def test_numbers_and_arrays_of_numpy_are_data(lab, app, tmp_path):
    numpy = pytest.importorskip("numpy")
    given = []

    def doubled(rows):
        return {"rows": 2 * numpy.asarray(rows, "float32"), "first": numpy.float32(0.5), "count": numpy.int64(2)}

    async def run(ctx):
        given.append(await ctx.compute("doubled", doubled, numpy.array([[1.0, 2.0]])))

    await twice(lab, tmp_path, run)
    assert given == [{"rows": [[2.0, 4.0]], "first": 0.5, "count": 2}] * 2


async def test_a_time_is_the_same_in_a_replay(lab, app, tmp_path):
    times = []

    async def run(ctx):
        times.append(await ctx.now())
        await ctx.evaluate(ctx.student, ctx.val)
        await asyncio.sleep(0.01)
        times.append(await ctx.now())

    await twice(lab, tmp_path, run)
    assert times[:2] == times[2:]
    assert times[1] >= 0.01


# What a program looks up


async def test_what_a_program_retrieves_is_recorded(lab, app, tmp_path):
    searches = []

    class Search:
        async def retrieve(self, query, k):
            searches.append(query)
            return [dspex.Passage(f"{query} is {len(searches)}")]

    class Looking(dspex.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspex.Predict("question -> answer")
            self.retriever = dspex.Retriever("lab", provider=Search(), cache=False)

        async def aforward(self, question):
            passages = await self.retriever.acall(question)
            return await self.answer.acall(question=f"{passages[0].text} {question}")

    async def down(number, text):
        if number > 6:
            raise dspex.Unavailable("connection refused")

    async def run(ctx):
        await ctx.evaluate(ctx.student, ctx.val)

    async def compiled(model):
        with dspex.context(lm=model.lm):
            return await algorithm(lab, run).acompile(Looking(), **lab.DATA, num_threads=1, run_dir=tmp_path / "run")

    with pytest.raises(dspex.EvaluationError, match="found no model"):
        await compiled(lab.Model(down))
    model = lab.Model()
    await compiled(model)
    assert len(searches) == len(set(searches)) == 16
    assert len(model.prompts) == 10


class Acting(dspex.Module):
    """Asks, acts by a tool, and asks again with what that gave."""

    def __init__(self, tool, is_sync):
        super().__init__()
        self.answer = dspex.Predict("question -> answer")
        self.act = tool
        self.is_sync = is_sync

    async def aforward(self, question):
        first = await self.answer.acall(question=f"first {question}")
        act = {"number": int(question[2:]), "text": first.answer}
        given = await (asyncio.to_thread(self.act, **act) if self.is_sync else self.act.acall(**act))
        return await self.answer.acall(question=f"{given} {question}")


@pytest.mark.parametrize("is_sync", [False, True], ids=["acall", "call"])
async def test_what_a_tool_has_done_is_not_done_again(lab, app, tmp_path, is_sync):
    done, refused = [], []

    def book(number: int, text: str) -> str:
        done.append(number)
        if number == 101 and not refused:
            refused.append(number)
            raise ValueError("fully booked")
        return f"booking {len(done)} of"

    async def down(number, text):
        if number > 8:
            raise dspex.Unavailable("connection refused")

    async def run(ctx):
        await ctx.evaluate(ctx.student, ctx.val)

    async def compiled(model):
        options = {**lab.DATA, "num_threads": 1, "run_dir": tmp_path / "run"}
        with dspex.context(lm=model.lm):
            return await algorithm(lab, run).acompile(Acting(dspex.Tool(book), is_sync), **options)

    with pytest.raises(dspex.EvaluationError, match="found no model"):
        await compiled(lab.Model(down))
    before = list(done)
    program = await compiled(lab.Model())
    assert before == [100, 101, 102, 103, 104]
    assert sorted(done) == sorted([*range(100, 116), 101]), "what failed is tried again, all else once"
    ledger = program.ledger
    assert (ledger.calls, ledger.paid_before, ledger.reused, ledger.lost) == (32, 8 + 10, 8, 0), "ten calls failed"


async def test_a_tool_that_asks_a_model_has_its_calls_recorded_one_by_one(lab, app, tmp_path):
    ask, runs = dspex.Predict("question -> answer"), []

    async def expert(number: int, text: str) -> list[str]:
        runs.append(number)
        return [(await ask.acall(question=f"{step} n={number}")).answer for step in ("a", "b")]

    async def down(number, text):
        if number > 18:
            raise dspex.Unavailable("connection refused")

    async def run(ctx):
        await ctx.evaluate(ctx.student, ctx.val)

    async def compiled(model):
        options = {**lab.DATA, "num_threads": 1, "run_dir": tmp_path / "run"}
        with dspex.context(lm=model.lm):
            return await algorithm(lab, run).acompile(Acting(dspex.Tool(expert), False), **options)

    first, second = lab.Model(down), lab.Model()
    with pytest.raises(dspex.EvaluationError, match="found no model"):
        await compiled(first)
    program = await compiled(second)
    assert program.ledger.calls == 4 * 16
    assert 18 + len(second.prompts) == 4 * 16
    assert not set(first.prompts[:18]) & set(second.prompts)


# Other optimizers inside a run


class Outer(dspex.Optimizer):
    """Compiles in two steps."""

    def __init__(self, inner, again=None):
        self.metric = inner.metric
        self.inner = [inner, again or inner]

    async def run(self, ctx):
        first = await ctx.compile(self.inner[0], ctx.student, label="first", sets=2)
        return await ctx.compile(self.inner[1], first, label="second", train=ctx.train[:12], sets=2)


async def test_an_optimizer_inside_another_shares_its_journal_pool_and_budget(lab, app, tmp_path):
    model = lab.Model()
    program = await lab.compiled(model, optimizer=Outer(lab.Search()), run_dir=tmp_path / "run")
    assert program.demos
    labels = {one["label"] for one in program.candidate_programs}
    assert {label.split("/")[0] for label in labels} == {"first", "second"}
    again = lab.Model()
    replayed = await lab.compiled(again, optimizer=Outer(lab.Search()), run_dir=tmp_path / "run")
    assert again.prompts == []
    assert lab.saved(replayed, tmp_path) == lab.saved(program, tmp_path)
    budget = dspex.Budget(calls=60, on_short="stop")
    short = lab.Model()
    stopped = await lab.compiled(short, optimizer=Outer(lab.Search()), budget=budget)
    assert stopped.evidence.stopped == "budget"
    assert len(short.prompts) <= 60


async def test_scores_by_another_metric_say_nothing_about_the_pool(lab, app):
    def never(example, prediction):
        return 0

    outer = Outer(lab.Search(), lab.Search(metric=never))
    program = await lab.compiled(lab.Model(), optimizer=outer)
    assert max(one["score"] or 0 for one in program.candidate_programs) > 0


# What optimizers may set


async def test_an_optimizer_sets_the_bias_of_choices(lab, app, tmp_path):
    class Biased(lab.Search):
        async def run(self, ctx):
            made = ctx.student.with_params({"self": {"choice_bias": {"answer": {"yes": 0.5}}}})
            assert made.key != ctx.student.key
            return ctx.consider(made, "biased")

    with dspex.context(lm=lab.Model().lm):
        student = dspex.Predict("question -> answer: Literal['yes', 'no']")
        job = Biased(metric=None).start(student, trainset=lab.examples(3), holdout=0)
        pool = [one["program"] for one in (await job).candidate_programs]
    assert pool[0].choice_bias == {"answer": {"yes": 0.5}}
    assert student.choice_bias is None


async def test_a_student_with_another_bias_is_another_student(lab, app, tmp_path):
    keys = []
    for bias in (None, {"yes": 0.5}, {"yes": 0.7}):
        student = dspex.Predict("question -> answer: Literal['yes', 'no']")
        student.choice_bias = bias
        with dspex.context(lm=lab.Model().lm):
            made = prepared(lab.Search(), student, Options(trainset=lab.examples(3)))
        keys.append(made.setup.student.key)
    assert len(set(keys)) == 3


async def test_the_second_model_of_an_adapter_is_part_of_a_run(lab, app, tmp_path):
    async def compiled(extraction):
        adapter = dspex.TwoStepAdapter(dspex.LM(extraction, provider=Answers("4"), cache=False))
        with dspex.context(adapter=adapter):
            await lab.compiled(lab.Model(), optimizer=algorithm(lab, nothing), run_dir=tmp_path / "run")

    async def nothing(ctx):
        """Only the run is opened."""

    await compiled("one")
    await compiled("one")
    with pytest.raises(dspex.JournalError, match="language model and adapter differs"):
        await compiled("other")


async def test_an_algorithm_looks_at_programs_and_adds_to_the_one_that_is_returned(lab, app, tmp_path):
    seen = []

    async def run(ctx):
        parts = ctx.program(ctx.student.with_instructions({"self": "Double it."})).named_predictors()
        seen.append({path: (part.signature.instructions, list(part.signature.fields)) for path, part in parts})
        ctx.attach(rounds=1, names=["a"])
        ctx.attach(rounds=2)

    optimizer = algorithm(lab, run)
    programs = [await lab.compiled(lab.Model(), optimizer=optimizer, run_dir=tmp_path / "run") for _ in range(2)]
    assert [(one.rounds, one.names) for one in programs] == [(2, ["a"])] * 2
    assert seen == [{"self": ("Double it.", ["question", "answer"])}] * 2


async def test_steps_are_told_to_those_who_listen(lab, app, tmp_path):
    heard = []
    app.bus.subscribe(heard.append, "test")
    await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    records, _ = replay((tmp_path / "run" / FILE).read_bytes())
    for _ in range(100):
        await asyncio.sleep(0)
    steps = [event for event in heard if type(event).__name__ == "StepFinished"]
    assert {event.key for event in steps} == {record.key for record in records if isinstance(record, Step)}
    assert not any(event.replayed for event in steps)
    progress = [event for event in heard if type(event).__name__ == "Progressed"]
    assert progress[-1].phase == "race"
    assert any(isinstance(record, Call) for record in records)
