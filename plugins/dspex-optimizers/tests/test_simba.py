"""SIMBA: what a step learns from runs that differ, what it leaves alone, what it costs."""

import json
import random
import statistics
from types import SimpleNamespace

import pytest

import dspex
from dspex_optimizers.advice import BLANK, advised, with_rules
from dspex_optimizers.bucket import Bounds, Bucket, buckets, percentile
from dspex_optimizers.draft import poisson, shown, thinned
from dspex_optimizers.standings import Standings

RULE = {"self": "Double the number after n=."}


@pytest.fixture
def student():
    """Right about half of the time, so that runs of one example differ."""
    return dspex.Predict(dspex.Signature("question -> answer", "Twice the number, please."))


def simba(metric, **options):
    return dspex.SIMBA(metric=metric, **{"bsize": 6, "num_candidates": 3, "max_steps": 3, "max_demos": 3, **options})


def compiled(optimizer, student, data, **options):
    return optimizer.compile(student, **{"trainset": data.trainset[:24], "holdout": 0, **options})


def rule(_word):
    return json.dumps(RULE)


def made(program, strategy):
    return [one["program"] for one in program.candidate_programs if one.get("strategy") == strategy]


# Over whole compiles


def test_a_rule_reaches_the_instructions_and_a_good_run_the_demos(writer, data, student, right):
    writer(module_advice=rule)
    program = compiled(simba(right), student, data)
    ruled, shown_ = made(program, "rule"), made(program, "demo")
    assert ruled
    assert shown_
    assert all(one.signature.instructions.endswith("\n\n" + RULE["self"]) for one in ruled)
    assert all(one.demos[-1]["augmented"] for one in shown_)
    demos = {(demo["question"], demo["answer"]) for one in shown_ for demo in one.demos}
    assert demos <= {(one.question, one.answer) for one in data.trainset}
    assert all(len(one.demos) <= 4 for one in shown_)
    assert student.demos == []


def test_a_question_shows_the_worst_and_the_best_run_on_one_example(writer, data, student, right):
    model = writer(module_advice=rule)
    compiled(simba(right, max_steps=1, max_demos=0), student, data)
    questions = model.asked("module_advice")
    assert questions
    for question in questions:
        parts = dict(part.split(" ## ]]\n", 1) for part in question.split("[[ ## ")[1:] if " ## ]]\n" in part)
        number = json.loads(parts["example_inputs"])["question"][2:]
        assert json.loads(parts["expected"])["answer"] == str(2 * int(number))
        assert float(parts["better_score"]) > float(parts["worse_score"])
        assert json.loads(parts["better_outputs"])["answer"] == str(2 * int(number))
        assert json.loads(parts["worse_run"])[0]["outputs"]["answer"] == "no idea"
        assert student.signature.instructions in parts["modules"]


def test_each_step_runs_its_minibatch_and_the_winners_are_compared_on_all(writer, data, student, right):
    model = writer(module_advice=rule)
    search = simba(right)
    program = compiled(search, student, data)
    steps = 3 * 6 * 3 + 6 * len([score for log in program.trial_logs.values() for score in log["batch_scores"]])
    assert program.ledger.calls == len(model.requests) <= steps + 4 * 24 + len(model.asked("module_advice"))
    assert program.ledger.calls <= search.estimate(dspex.Shape(1, 1, 24, 24)).high == 3 * 6 * 7 + 4 * 24 + 3 * 4
    assert len([one for one in program.candidate_programs if one["score"] is not None]) <= 4
    assert all(dict(one.params)["temperature"] == 1.0 for one in model.requests[:18])


def test_the_logs_tell_the_scores_of_each_step(writer, data, student, right):
    writer(module_advice=rule)
    logs = compiled(simba(right), student, data).trial_logs
    assert list(logs) == [0, 1, 2]
    for log in logs.values():
        assert len(log["batch_scores"]) == len(log["strategies"]) == 4
        assert 0 <= log["baseline_score"] <= 1
        assert 0 <= log["train_score"] <= 1


def test_without_demos_there_are_rules_only(writer, data, student, right):
    writer(module_advice=rule)
    program = compiled(simba(right, max_demos=0), student, data)
    assert not made(program, "demo")
    assert made(program, "rule")


def test_a_rule_that_cannot_be_had_costs_one_program_and_no_more_questions(writer, data, student, right):
    model = writer(module_advice=lambda _word: None)
    program = compiled(simba(right, max_demos=0, max_steps=2), student, data)
    assert program.evidence.stopped == "done"
    assert not made(program, "rule")
    assert len(model.asked("module_advice")) <= 2 * 2 * 4  # each is asked once more in another form


def test_the_teachers_settings_are_for_one_run_of_each_example(writer, data, student, right):
    model = writer(module_advice=rule)
    teacher = type(model)()
    settings = {"lm": dspex.LM("teacher", provider=teacher, cache=False, temperature=0.3)}
    search = simba(right, teacher_settings=settings)
    program = compiled(search, student, data)
    assert len(teacher.requests) == 3 * 6
    assert {dict(one.params)["temperature"] for one in teacher.requests} == {0.3}
    assert program.evidence.usage["teacher"]["calls"] == search.estimate(dspex.Shape(1, 1, 24, 24)).teacher.high == 18


def test_another_model_writes_the_rules(writer, data, student, right):
    model = writer()
    other = type(model)(module_advice=rule)
    program = compiled(simba(right, prompt_model=dspex.LM("other", provider=other, cache=False)), student, data)
    assert made(program, "rule")
    assert not model.asked("module_advice")
    assert len(other.asked("module_advice")) == len(other.requests)


def test_each_module_of_a_program_gets_its_own_rule_and_demo(writer, data, two, right):
    rules = {"hint": "Say what doubling is.", "solve": "Double it.", "nobody": "Do nothing."}
    writer(module_advice=lambda _word: json.dumps(rules))
    program = compiled(simba(right), two, data)
    for one in made(program, "rule"):
        texts = {path: part.signature.instructions for path, part in one.named_predictors()}
        assert {path: text.rsplit("\n\n", 1)[-1] for path, text in texts.items()} == {
            path: rules[path] for path in ("hint", "solve")
        }
    for one in made(program, "demo"):
        assert [len(one.hint.demos), len(one.solve.demos)] == [len(one.solve.demos)] * 2
        assert set(one.solve.demos[-1].keys()) - {"augmented"} == {"question", "hint", "answer"}


def test_a_valset_decides_where_there_is_one(writer, data, student, right):
    writer(module_advice=rule)
    program = compiled(simba(right), student, data, valset=data.valset)
    assert len(program.candidate_programs[0]["subscores"]) == len(data.valset)
    assert program.candidate_programs[0]["score"] is not None


def test_the_same_seed_gives_the_same_program_and_another_one_other_minibatches(writer, data, student, right):
    found = []
    for seed in (0, 0, 1):
        writer(module_advice=rule)
        found.append(compiled(simba(right), student, data, seed=seed))
    states = [[one["program"].dump_state() for one in program.candidate_programs] for program in found]
    assert states[0] == states[1] != states[2]
    assert found[0].trial_logs == found[1].trial_logs


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"bsize": 0}, "bsize=0"),
        ({"num_candidates": 0}, "num_candidates=0"),
        ({"max_steps": 1.5}, "max_steps=1.5"),
        ({"max_demos": -1}, "max_demos=-1"),
        ({"temperature_for_sampling": 0}, "temperature_for_sampling=0: a number above 0"),
        ({"prompt_model": "openai/gpt"}, "dspex.LM"),
        ({"bsize": 25}, r"at least bsize=25 training examples, and there are 24.*bsize=12"),
        ({"metric": None}, "needs a metric"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(writer, data, student, right, tmp_path, wrong, says):
    model = writer()
    with pytest.raises(dspex.ConfigurationError, match=says):
        compiled(simba(**{"metric": right, **wrong}), student, data, run_dir=tmp_path / "run")
    assert not model.requests
    assert not (tmp_path / "run").exists()


def test_a_teacher_program_is_refused(writer, data, student, right):
    writer()
    with pytest.raises(dspex.ConfigurationError, match="teacher_settings="):
        compiled(simba(right), student, data, teacher=student)


# Its parts


def run(example, score, answer="a", **more):
    step = SimpleNamespace(predictor="self", inputs={"question": f"n={example}"}, outputs={"answer": answer})
    return dspex.Rollout(f"key {example}", "c", score, outputs={"answer": answer}, trace=(step,), **more)


def test_buckets_come_by_their_spread_then_by_their_best(data):
    rows = [[0.0, 1.0, 0.5], [1.0, 1.0, 0.5], [0.5, 1.0, 0.0], [0.0, 1.0, 0.5]]
    runs = [[run(place, score) for place, score in enumerate(row)] for row in rows]
    found, bounds = buckets(data.trainset[:3], runs)
    assert [one.example.question for one in found] == ["n=0", "n=2", "n=1"]
    assert [one.score for one in found[0].runs] == [1.0, 0.5, 0.0, 0.0]
    assert bounds == Bounds(0.0, 1.0)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_percentiles_lie_on_a_straight_line_between_scores(count):
    scores = [random.Random(place).random() for place in range(count)]
    whole = statistics.quantiles([*scores, *scores][: max(2, count)], n=10, method="inclusive")
    expected = whole if count > 1 else [scores[0]] * 9
    assert [percentile(scores, share) for share in (0.1, 0.9)] == pytest.approx([expected[0], expected[-1]])


def test_the_student_is_always_among_the_best():
    standings = Standings(dspex.Candidate("s", {}))
    for score in (0.5, 0.9, 0.7):
        standings.register(dspex.Candidate("s", {str(score): dspex.PredictorState("i")}), [score, score])
    assert standings.top(2) == [2, 0]
    assert standings.top(9) == [2, 3, 1, 0]
    standings.seen(0, 1.0)
    assert standings.top(2) == [0, 2]


def test_better_programs_are_drawn_more_often():
    standings = Standings(dspex.Candidate("s", {}))
    standings.register(dspex.Candidate("s", {}), [1.0])
    lottery = standings.lottery([0, 1], 0.5)
    drawn = [lottery.drawn(random.Random(seed)) for seed in range(500)]
    assert 0.82 < sum(drawn) / 500 < 0.94  # 1 / (1 + exp(-2)) is 0.88


def many_demos(count, predictors=("a", "b")):
    demos = tuple(dspex.Demo({"q": str(place)}) for place in range(count))
    return dspex.Candidate("s", {path: dspex.PredictorState("i", demos) for path in predictors})


def test_full_programs_lose_demos_at_the_same_places():
    for seed in range(50):
        left = thinned(many_demos(4), 4, random.Random(seed)).predictors
        assert left["a"].demos == left["b"].demos
        assert len(left["a"].demos) <= 3
    assert thinned(many_demos(0), 4, random.Random(0)).predictors["a"].demos == ()


def test_draws_of_the_poisson_distribution_have_its_mean_and_variance():
    rng = random.Random(3)
    drawn = [poisson(rng, 1.5) for _ in range(4000)]
    assert statistics.fmean(drawn) == pytest.approx(1.5, abs=0.1)
    assert statistics.variance(drawn) == pytest.approx(1.5, abs=0.2)


def test_long_inputs_of_a_demo_are_cut():
    [demo] = shown(many_demos(0, ["self"]), run(123456, 1.0), 5).predictors["self"].demos
    assert demo.fields == {"question": "n=123 ... (cut off)", "answer": "a"}
    [whole] = shown(many_demos(0, ["self"]), run(123456, 1.0), None).predictors["self"].demos
    assert whole.fields["question"] == "n=123456"


@pytest.mark.parametrize(("score", "blank"), [(1.0, "worse"), (0.5, "better")])
async def test_of_equal_runs_the_less_telling_one_is_left_blank(data, score, blank):
    asked = {}

    class Context:
        def program(self, _candidate):
            return dspex.Predict("question -> answer")

        async def ask(self, _signature, **inputs):
            asked.update(inputs)
            return [dspex.Failure("no")]

    bucket = Bucket(data.trainset[0], (run(0, score), run(0, score)))
    assert await advised(Context(), many_demos(0, ["self"]), bucket, Bounds(0.2, 0.8)) is None
    assert {name.partition("_")[0] for name, value in asked.items() if value == BLANK} == {blank}


def test_a_rule_under_another_name_is_for_the_only_module():
    one = with_rules(many_demos(0, ["self"]), {"the module": "Do."})
    assert one.predictors["self"].instructions == "i\n\nDo."
    assert with_rules(many_demos(0), {"c": "Do."}) == many_demos(0)
