"""Where the sampler looks next, and one demonstration a predictor."""

import random

import pytest

import dspex
from dspex_mipro.tpe import STARTUP, proposals

SIZES = {"a/instruction": 5, "a/demos": 8, "b/instruction": 5, "b/demos": 8}


def value(point):
    """An additive landscape; 1 at its top."""
    weights = {name: random.Random(name).sample(range(size), size) for name, size in SIZES.items()}
    return sum(weights[name][at] / (SIZES[name] - 1) for name, at in point.items()) / len(SIZES)


def searched(seed, batch, trials=24):
    """The best value of a search in batches of that size."""
    history = [(dict.fromkeys(SIZES, 0), value(dict.fromkeys(SIZES, 0)))]
    while len(history) <= trials:
        points = proposals(SIZES, history, [], batch, seed * 1_000 + len(history))
        history += [(point, value(point)) for point in points]
    return max(score for _, score in history)


def test_the_same_history_and_seed_give_the_same_points():
    points = [{name: at % size for name, size in SIZES.items()} for at in range(20)]
    history = [(point, value(point)) for point in points]
    four = proposals(SIZES, history, [], 4, 1)
    assert four == proposals(SIZES, history, [], 4, 1) != proposals(SIZES, history, [], 4, 2)
    assert four[:2] == proposals(SIZES, history, [], 2, 1)


@pytest.mark.parametrize("known", [0, STARTUP])
def test_points_differ_and_none_is_one_that_is_closed(known):
    history = [({"a": 0, "b": at % 5}, 1.0 if at % 5 == 2 else 0.0) for at in range(known)]
    closed = [{"a": 0, "b": 2}, {"a": 0, "b": 4}]
    points = proposals({"a": 1, "b": 5}, history, closed, 30, 7)
    assert sorted(point["b"] for point in points) == [0, 1, 3]
    assert {point["a"] for point in points} == {0}
    assert len(proposals({"a": 1, "b": 5}, history, closed, 2, 7)) == 2


def test_a_search_in_batches_is_better_than_random_draws():
    rng = random.Random(1)
    drawn = [
        max(value({name: rng.randrange(size) for name, size in SIZES.items()}) for _ in range(24)) for _ in range(200)
    ]
    found = [searched(seed, 4) for seed in range(12)]
    assert sum(found) / len(found) > sum(drawn) / len(drawn)


def test_nothing_is_said_about_studies(capfd):
    proposals({"a": 2}, [], [], 1, 0)
    assert capfd.readouterr().err == ""


def compiled(data, student, search, **options):
    return search.compile(student, trainset=data.trainset, valset=data.valset, **options)


def test_the_demonstrations_of_all_predictors_are_chosen_together(model, data, two_steps, right):
    search = dspex.BootstrapFewShotWithOptuna(right, max_labeled_demos=6, num_candidate_programs=8)
    program = compiled(data, two_steps, search, max_demos=3)
    tried = [one["program"] for one in program.candidate_programs if one["label"].startswith("trial")]
    assert {len(predictor.demos) for one in tried for predictor in one.predictors()} == {1}
    assert program.evidence.usage["task"]["calls"] == 2 * 20 * (1 + 8)
    assert len(program.trial_logs) == 9
    assert program.score == max(log["full_eval_score"] for log in program.trial_logs.values())
    pool = {len(one["program"].hint.demos) for one in program.candidate_programs if "bootstrap" in one["label"]}
    assert pool == {6}


def test_the_number_to_choose_from_is_compiles_or_the_constructors(model, data, student, right):
    search = dspex.BootstrapFewShotWithOptuna(
        right, max_bootstrapped_demos=2, max_labeled_demos=0, num_candidate_programs=1
    )
    for options, count in (({}, 2), ({"max_demos": 5}, 5)):
        pool = compiled(data, student, search, **options).candidate_programs
        [made] = [one["program"] for one in pool if one["label"].startswith("bootstrap")]
        assert len(made.demos) == count
    with pytest.raises(dspex.ConfigurationError, match="max_demos"):
        compiled(data, student, search, max_demos="many")


def test_an_unlike_teacher_is_refused_before_anything_is_paid(model, data, student, right):
    with pytest.raises(dspex.ConfigurationError, match="has not the student's predictors: self"):
        compiled(data, student, dspex.BootstrapFewShotWithOptuna(right), teacher=dspex.Predict("question -> reply"))
    assert not model.calls


def test_where_no_run_is_good_enough_the_student_comes_back(model, data, student):
    search = dspex.BootstrapFewShotWithOptuna(lambda example, made: 0, max_labeled_demos=0)
    program = compiled(data, student, search, max_demos=3)
    assert program.dump_state() == student.dump_state()
    assert program.evidence.usage["task"]["calls"] == 20
    assert program.ledger.calls <= search.estimate(dspex.Shape(1, 1, 40, 20)).high


@pytest.mark.parametrize(("calls", "trials"), [(100, 2), (150, 4), (1_000, 8)])
def test_as_many_trials_are_made_as_a_budget_covers(model, data, student, right, calls, trials):
    search = dspex.BootstrapFewShotWithOptuna(right, num_candidate_programs=8)
    program = compiled(data, student, search, budget=dspex.Budget(calls=calls, on_short="fit"))
    assert len(program.trial_logs) == 1 + trials
    assert model.calls <= calls
    with pytest.raises(dspex.BudgetExceeded):
        compiled(data, student, search, budget=dspex.Budget(calls=79, on_short="fit"))


def test_the_progress_of_a_search_ends_at_its_total(model, data, student, right):
    search = dspex.BootstrapFewShotWithOptuna(right, num_candidate_programs=8)
    job = search.start(student, trainset=data.trainset, valset=data.valset)
    job.result(timeout=60)
    assert (job.progress.done, job.progress.total) == (9 * 20, 9 * 20)
    assert job.progress.eta == 0
