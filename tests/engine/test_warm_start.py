"""A compile that begins with what is known: saved programs, earlier runs, and traces of what somebody has paid for."""

import asyncio
import json

import pytest

import dspex


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def traced(number, score=1.0, answer=None):
    """A line of a program of one predictor."""
    answer = str(2 * number if answer is None else answer)
    return {"inputs": {"question": f"n={number}"}, "outputs": {"answer": answer}, "score": score}


@pytest.fixture
def traces(tmp_path):
    """A file of 20 good runs on other questions than the lab's."""
    path = tmp_path / "traces.jsonl"
    path.write_text(lines(*(traced(number) for number in range(500, 520))))
    return path


def shown(program):
    return sorted(int(demo["question"][2:]) for demo in program.demos)


# Traces


async def test_good_runs_take_the_place_of_a_teacher_s(lab, app, traces):
    model, cold = lab.Model(), lab.Model()
    program = await lab.compiled(model, warm_start=traces)
    await lab.compiled(cold)
    scored = sum(one["subscores"].count(None) < 16 for one in program.candidate_programs)
    assert scored == 5
    assert len(model.prompts) <= 5 * 16 < len(cold.prompts)
    assert program.demos
    assert min(shown(program)) >= 500
    assert "20 of 20 traced runs were there to learn from" in program.evidence.notes
    assert "teacher" not in program.evidence.usage


async def test_each_order_of_the_examples_has_the_runs_in_another(lab, app, traces):
    program = await lab.compiled(lab.Model(), warm_start=traces)
    assert len({tuple(shown(one["program"])) for one in program.candidate_programs if one["label"] != "student"}) > 1


async def test_a_run_that_does_not_pass_is_not_shown(lab, app, tmp_path):
    path = tmp_path / "traces.jsonl"
    rows = [traced(500), traced(501, 0.0, 7), traced(502, None), traced(503, 0.4)]
    path.write_text(lines(*rows))
    program = await lab.compiled(
        lab.Model(), optimizer=lab.Search(metric_threshold=0.5), warm_start=path, keep="estimate"
    )
    made = {number for one in program.candidate_programs for number in shown(one["program"])}
    assert 500 in made
    assert not made & {501, 502, 503}


async def test_what_is_judged_by_is_not_learned_from(lab, app, tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text(lines(*(traced(number) for number in (100, 101, 900, 3, 500))))
    held = lab.examples(20, 900)
    program = await lab.compiled(lab.Model(), warm_start=path, holdout=held)
    made = {number for one in program.candidate_programs for number in shown(one["program"])}
    assert not made & {100, 101, 900}
    assert "3 were left out, as their inputs are in the valset or held" in program.evidence.notes


async def test_other_traces_are_another_run_and_the_same_ones_pay_nothing_twice(lab, app, tmp_path, traces):
    first, second = lab.Model(), lab.Model()
    program = await lab.compiled(first, warm_start=traces, run_dir=tmp_path / "run")
    again = await lab.compiled(second, warm_start=str(traces), run_dir=tmp_path / "run")
    assert second.prompts == []
    assert lab.saved(again, tmp_path) == lab.saved(program, tmp_path)
    traces.write_text(lines(traced(700)))
    with pytest.raises(dspex.JournalError, match="warm start differs"):
        await lab.compiled(lab.Model(), warm_start=traces, run_dir=tmp_path / "run")


async def test_a_program_of_several_predictors_needs_their_steps(lab, app, tmp_path):
    class Two(dspex.Module):
        def __init__(self):
            super().__init__()
            self.first = dspex.Predict("question -> hint")
            self.second = dspex.Predict("question, hint -> answer")

    class Looks(dspex.Optimizer):
        metric = staticmethod(lab.right)

        async def run(self, ctx):
            self._got = await ctx.collect(ctx.student, ctx.train, 1)
            return ctx.student

    step = {"predictor": "second", "inputs": {"question": "n=1", "hint": "h"}, "outputs": {"answer": "2"}}
    half = {"predictor": "first", "inputs": {"question": "n=1"}, "outputs": {}}
    path, optimizer = tmp_path / "traces.jsonl", Looks()
    path.write_text(lines({**traced(1), "trace": [half, step, {**step, "predictor": "third"}]}, traced(2)))
    await optimizer.acompile(Two(), trainset=lab.examples(3, 50), warm_start=path)
    assert [(one.predictor, one.outputs) for one in optimizer._got[0].trace] == [("second", {"answer": "2"})]


async def test_traces_of_another_program_are_refused(lab, app, tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text(lines({"inputs": {"text": "a"}, "outputs": {"label": "b"}, "score": 1}))
    with pytest.raises(dspex.ConfigurationError, match="none of 1 runs can be learned from"):
        await lab.compiled(lab.Model(), warm_start=path)


@pytest.mark.parametrize("bad", ["{", '{"outputs": {}}', '{"inputs": {}, "score": "good"}'])
async def test_a_damaged_line_is_named(lab, app, tmp_path, bad):
    path = tmp_path / "traces.jsonl"
    path.write_text(f"{json.dumps(traced(1))}\n\n{bad}\n")
    with pytest.raises(dspex.DatasetError, match="line 3: no run of a program") as caught:
        await lab.compiled(lab.Model(), warm_start=path)
    assert caught.value.line == 3
    with pytest.raises(dspex.DatasetError, match="cannot be read"):
        await lab.compiled(lab.Model(), warm_start=tmp_path / "no.jsonl")


# Writing them


def test_what_a_program_did_is_written_as_lines_and_read_again(lab, tmp_path):
    path = tmp_path / "traces.jsonl"
    with dspex.context(lm=lab.Model().lm):
        program = dspex.Predict("question -> answer")
        data = dspex.bootstrap_trace_data(program, lab.examples(4), lab.right)
        assert dspex.write_traces(path, program, data) == 4
    read = dspex.read_traces(path)
    assert [line.inputs["question"] for line in read] == ["n=0", "n=1", "n=2", "n=3"]
    assert [line.score for line in read] == [one["score"] for one in data]
    assert [(step.predictor, step.outputs) for line in read for step in line.trace] == [
        ("self", {"answer": one["prediction"].answer}) for one in data
    ]


def test_neither_redacted_fields_nor_keys_are_written_or_read(lab, tmp_path):
    path, key = tmp_path / "traces.jsonl", "sk-a-key-of-the-app"
    with dspex.context(redact=["email"]):
        lm = dspex.LM("house/lab", provider=lab.Model(), cache=False, api_key=key)
        with dspex.context(lm=lm):
            program = dspex.Predict("question, email, note -> answer")
            rows = [dspex.Example(question="n=1", email="a@b.c", note=f"my {key}", answer="2")]
            data = dspex.bootstrap_trace_data(program, [rows[0].with_inputs("question", "email", "note")], lab.right)
            dspex.write_traces(path, program, data)
    text = path.read_text()
    assert "a@b.c" not in text
    assert key not in text
    assert "my ***" in text
    path.write_text(lines({**traced(1), "trace": [{"predictor": "self", "inputs": {"note": "x"}, "outputs": {}}]}))
    with dspex.context(redact=["note", "question"]):
        (line,) = dspex.read_traces(path)
    assert line.inputs == line.trace[0].inputs == {}


def test_a_run_that_failed_is_not_written(lab, tmp_path):
    async def silent(number, text):
        raise KeyError("a slip")

    with dspex.context(lm=lab.Model(silent).lm):
        program = dspex.Predict("question -> answer")
        data = dspex.bootstrap_trace_data(program, lab.examples(2), lab.right, capture_crashes=True)
        assert dspex.write_traces(tmp_path / "traces.jsonl", program, data) == 0
    assert (tmp_path / "traces.jsonl").read_bytes() == b""


# Programs


class Nothing(dspex.Optimizer):
    """Finds what it was given."""

    def __init__(self, metric, is_scored=True):
        self.metric = metric
        self.is_scored = is_scored

    async def run(self, ctx):
        if self.is_scored:
            await ctx.evaluate(ctx.student, ctx.val)
        return ctx.student


@pytest.fixture
async def good(lab, app, tmp_path):
    """A program with demonstrations that was found before, its file and its run."""
    program = await lab.compiled(lab.Model(), run_dir=tmp_path / "before")
    assert len(program.demos) >= 2
    program.save(tmp_path / "before.json")
    return program


@pytest.mark.parametrize("form", ["program", "file", "run"])
async def test_a_program_that_is_known_enters_the_pool_and_is_returned_if_it_is_the_best(
    lab, app, tmp_path, good, form
):
    given = {"program": good, "file": tmp_path / "before.json", "run": tmp_path / "before"}[form]
    model = lab.Model()
    program = await lab.compiled(model, optimizer=Nothing(lab.right), warm_start=given, run_dir=tmp_path / "run")
    assert shown(program) == shown(good)
    assert [one["label"] for one in program.candidate_programs] == ["warm start 1"]
    assert len(model.prompts) == 2 * 16
    again = await lab.compiled(lab.Model(), optimizer=Nothing(lab.right), warm_start=given, run_dir=tmp_path / "run")
    assert lab.saved(again, tmp_path) == lab.saved(program, tmp_path)


def nearest(vectorizer=None):
    """A program that shows the six nearest of many demonstrations."""
    program = dspex.Predict("question -> answer")
    program.demos = [{"question": f"n={n}", "answer": str(2 * n)} for n in range(600, 620)]
    program.demo_selector = dspex.NearestDemos(6, vectorizer)
    return program


def letters(texts):
    return [[float(len(text)), 1.0] for text in texts]


@pytest.mark.parametrize(
    ("vectorizer", "form"), [(None, "program"), (None, "file"), (None, "run"), (letters, "program")]
)
async def test_a_program_that_chooses_its_demos_at_each_call_goes_on_doing_so(lab, app, tmp_path, vectorizer, form):
    known, options = nearest(vectorizer), {"optimizer": Nothing(lab.right)}
    if form == "file":
        known.save(tmp_path / "before.json")
    elif form == "run":
        await lab.compiled(lab.Model(), **options, warm_start=known, run_dir=tmp_path / "run")
    given = {"program": known, "file": tmp_path / "before.json", "run": tmp_path / "run"}[form]
    model = lab.Model()
    program = await lab.compiled(model, **options, warm_start=given)
    assert shown(program) == list(range(600, 620))
    assert program.demo_selector.dump_state() == known.demo_selector.dump_state()
    assert {prompt.count("n=6") for prompt in model.prompts} == {0, 6}


async def test_a_run_whose_program_chooses_by_a_function_is_named_with_what_gives_it(lab, app, tmp_path):
    options = {"optimizer": Nothing(lab.right), "run_dir": tmp_path / "run"}
    program = await lab.compiled(lab.Model(), **options, warm_start=nearest(letters))
    with pytest.raises(dspex.JournalError, match="the same call of `compile` with this run_dir gives it"):
        await lab.compiled(lab.Model(), warm_start=tmp_path / "run")
    again = await lab.compiled(model := lab.Model(), **options, warm_start=nearest(letters))
    assert model.prompts == []
    assert again.demo_selector.vectorizer is program.demo_selector.vectorizer is letters


async def test_a_search_that_finds_a_better_one_returns_that(lab, app, good):
    poor = dspex.Predict("question -> answer")
    poor.demos = [{"question": "n=1", "answer": "0"}]
    program = await lab.compiled(lab.Model(), warm_start=[poor, good])
    labels = [one["label"] for one in program.candidate_programs]
    assert {"warm start 1", "warm start 2"} <= set(labels)
    assert labels.index("warm start 2") < labels.index("warm start 1")


async def test_its_score_is_part_of_the_price(lab, app, good):
    class Priced(Nothing):
        def estimate(self, shape):
            return dspex.Estimate(task=dspex.Range(0, shape.val))

    model = lab.Model()
    with pytest.raises(dspex.BudgetExceeded, match="at most 32 calls"):
        await lab.compiled(model, optimizer=Priced(lab.right), warm_start=good, budget=dspex.Budget(calls=20))
    assert model.prompts == []


async def test_a_known_program_keeps_its_own_model(lab, app, good):
    own, common = lab.Model(), lab.Model()
    good.lm = dspex.LM("house/own", provider=own, cache=False)
    program = await lab.compiled(common, optimizer=Nothing(lab.right), warm_start=good)
    assert (len(own.prompts), len(common.prompts)) == (16, 16)
    assert program.lm is good.lm


async def test_a_program_with_other_predictors_is_refused(lab, app):
    class Other(dspex.Module):
        def __init__(self):
            super().__init__()
            self.one = dspex.Predict("question -> answer")

    with pytest.raises(dspex.ConfigurationError, match="has other predictors"):
        await lab.compiled(lab.Model(), warm_start=Other())


async def test_a_program_with_other_fields_is_refused(lab, app):
    other = dspex.Predict("city -> country")
    with pytest.raises(dspex.ConfigurationError, match="the fields city, country, the student's has question, answer"):
        await lab.compiled(lab.Model(), warm_start=other)


@pytest.mark.parametrize("given", [[None], "", 3, [[]], dspex.Predict, {"path": "p.json"}])
async def test_what_is_neither_program_nor_path_is_refused(lab, app, given):
    with pytest.raises(dspex.ConfigurationError, match="a program, the path of one"):
        await lab.compiled(lab.Model(), warm_start=given)


async def test_a_run_that_goes_on_is_not_begun_with(lab, app, tmp_path):
    async def slow(number, text):
        await asyncio.sleep(0.01)

    with dspex.context(lm=lab.Model(slow).lm):
        job = lab.Search().start(dspex.Predict("question -> answer"), **lab.DATA, run_dir=tmp_path / "other")
        await asyncio.sleep(0.05)
        with pytest.raises(dspex.ConfigurationError, match="has not ended"):
            await lab.compiled(lab.Model(), warm_start=tmp_path / "other")
        job.abort()
        await asyncio.wait([asyncio.ensure_future(job)])
