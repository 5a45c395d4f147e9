"""Metric calls are a wall, the engine's budget is another, and the estimate is above both."""

import pytest

import dspex


def counted(office):
    """The metric, and the scorings and comments that it was asked for."""
    asked = {"scores": 0, "comments": 0}

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        asked["scores" if pred_name is None else "comments"] += 1
        return office.metric(gold, pred)

    return metric, asked


@pytest.mark.parametrize(("mode", "calls"), [("light", 780), ("medium", 1190), ("heavy", 1735)])
def test_the_modes_are_dspys(clerk, office, mode, calls):
    gepa = dspex.GEPA(office.metric, auto=mode, reflection_lm=clerk.lm)
    shape = dspex.Shape(predictors=1, calls_per_run=1, train=100, val=100)
    assert gepa.estimate(shape).metric == dspex.Range(100, calls)
    assert gepa.auto_budget(1, {"light": 6, "medium": 12, "heavy": 18}[mode], 100) == calls
    assert gepa.auto_budget(1, 1, 10) == 10 + 5 + 35 + 2 * 10  # fewer trials than evaluations: one more at the end


@pytest.mark.parametrize("proposals", [1, 3])
@pytest.mark.parametrize("calls", [12, 13, 19, 40, 150])
def test_no_more_runs_are_scored_than_asked_for(clerk, office, calls, proposals):
    metric, asked = counted(office)
    clerk.most = 1
    gepa = dspex.GEPA(metric, max_metric_calls=calls, reflection_lm=clerk.lm, proposals=proposals, track_stats=True)
    found = gepa.compile(office.student, **office.data).detailed_results
    assert asked["scores"] <= found.total_metric_calls <= calls
    assert len(clerk.requests) - len(clerk.reflections) <= calls
    assert found.total_metric_calls > calls - 3 * (2 * 3 + 12) or found.val_aggregate_scores[found.best_idx] == 1


def test_a_round_is_begun_only_where_it_can_come_to_its_end(clerk, office):
    for calls, rounds in ((12 + 6 + 12, 1), (2 * (12 + 6 + 12) - 12 - 1, 1), (2 * (12 + 6 + 12) - 12, 2)):
        before = len(clerk.reflections)
        dspex.GEPA(office.metric, max_metric_calls=calls, reflection_lm=clerk.lm).compile(office.student, **office.data)
        assert len(clerk.reflections) - before == rounds


def test_a_budget_for_less_than_a_round_still_tries_the_proposer(clerk, office):
    asked = []

    def proposer(candidate, reflective_dataset, components_to_update):
        asked.append(reflective_dataset)
        return {"self": "Try."}

    gepa = dspex.GEPA(office.metric, max_metric_calls=14, instruction_proposer=proposer)
    program = gepa.compile(office.student, **office.data)
    assert [len(one["self"]) for one in asked] == [2]
    assert program.ledger.calls == 14
    assert program.signature.instructions == office.student.signature.instructions


def test_a_budget_that_cannot_score_the_student_is_refused(clerk, office):
    with pytest.raises(dspex.ConfigurationError, match="takes 12"):
        dspex.GEPA(office.metric, max_metric_calls=11, reflection_lm=clerk.lm).compile(office.student, **office.data)
    assert not clerk.requests


def test_a_full_evaluation_is_of_both_sets_and_of_one_where_they_are_the_same(clerk, office):
    clerk.most = 0
    gepa = dspex.GEPA(office.metric, max_full_evals=2, reflection_lm=clerk.lm, track_stats=True)
    train = office.tickets(20)
    both = gepa.compile(office.student, trainset=train, valset=office.data["valset"], holdout=0)
    one = gepa.compile(office.student, trainset=train, holdout=0)
    # What is left would not do for a round: twice 3, and the valset.
    assert 2 * (20 + 12) - (6 + 12) < both.detailed_results.total_metric_calls <= 2 * (20 + 12)
    assert 2 * 20 - (6 + 20) < one.detailed_results.total_metric_calls <= 2 * 20


@pytest.mark.parametrize("calls", [1, 11, 20, 60])
def test_a_budget_of_calls_is_a_wall_that_keeps_the_best_so_far(clerk, office, calls):
    gepa = dspex.GEPA(office.metric, max_metric_calls=200, reflection_lm=clerk.lm, track_stats=True)
    program = gepa.compile(office.student, **office.data, budget=dspex.Budget(calls=calls, on_short="stop"))
    assert len(clerk.requests) <= calls
    assert program.evidence.stopped == "budget"
    found = program.detailed_results
    assert len(found.candidates) == len(found.parents) == found.num_full_val_evals
    best = program.candidate_programs[0]
    if best["score"] is not None:
        assert found.val_aggregate_scores[found.best_idx] == pytest.approx(best["score"] / 100, abs=1e-3)


@pytest.mark.parametrize("options", [{"component_selector": "all"}, {"proposals": 4}, {"skip_perfect_score": False}])
@pytest.mark.parametrize("sizes", [(12, 12), (2, 5), (30, 4)])
def test_the_estimate_is_not_below_what_is_used(clerk, office, options, sizes):
    clerk.most = 1
    train, val = sizes
    gepa = dspex.GEPA(office.metric, max_metric_calls=60, reflection_lm=clerk.lm, **options)
    program = gepa.compile(office.student, trainset=office.tickets(train), valset=office.tickets(val, 100), holdout=0)
    estimate = gepa.estimate(dspex.Shape(predictors=1, calls_per_run=1, train=train, val=val))
    usage = program.evidence.usage
    assert usage["task"]["calls"] <= estimate.task.high
    assert usage["reflection"]["calls"] <= estimate.reflection.high
    assert len(clerk.requests) <= estimate.high


def test_it_does_with_less_where_that_is_asked_for(clerk, office):
    gepa = dspex.GEPA(office.metric, auto="light", reflection_lm=clerk.lm)
    with pytest.raises(dspex.BudgetExceeded, match="may take"):
        gepa.compile(office.student, **office.data, budget=dspex.Budget(calls=60))
    assert not clerk.requests
    program = gepa.compile(office.student, **office.data, budget=dspex.Budget(calls=60, on_short="fit"))
    assert len(clerk.requests) <= 60
    assert program.evidence.stopped == "done"
    assert any("smaller to fit" in note for note in program.evidence.notes)
    with pytest.raises(dspex.BudgetExceeded):
        gepa.compile(office.student, **office.data, budget=dspex.Budget(calls=5, on_short="fit"))
    roomy = dspex.Shape(predictors=1, calls_per_run=1, train=12, val=12)
    assert gepa.fit(roomy, dspex.Budget(calls=100_000)) is gepa
    assert gepa.fit(roomy, dspex.Budget(usd=1.0)) is None
