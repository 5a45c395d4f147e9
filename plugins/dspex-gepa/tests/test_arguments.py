"""Arguments that have no meaning are refused when the optimizer is made, and say what to do."""

import pytest

import dspex

THREE = {"max_metric_calls": 10, "reflection_lm": dspex.LM("openai/some", api_key="none")}


def five(gold, pred, trace=None, pred_name=None, pred_trace=None):
    return 0.0


@pytest.mark.parametrize(
    "metric",
    [lambda gold, pred: 0, lambda gold, pred, trace=None: 0, lambda gold, pred, trace, pred_name: 0, None],
    ids=["two", "three", "four", "none"],
)
def test_a_metric_with_fewer_than_five_arguments_is_a_type_error(metric):
    with pytest.raises(TypeError, match="five arguments") as caught:
        dspex.GEPA(metric, **THREE)
    assert isinstance(caught.value, dspex.ConfigurationError)


class Judge(dspex.Module):
    async def aforward(self, gold, pred, trace=None, pred_name=None, pred_trace=None):
        return 0.0


@pytest.mark.parametrize("metric", [five, Judge(), lambda *given: 0, lambda gold, pred, trace, name, calls, more=0: 0])
def test_other_forms_of_five_arguments_are_taken(metric):
    assert dspex.GEPA(metric, **THREE).metric is metric


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"max_metric_calls": None}, "exactly one of auto, max_full_evals and max_metric_calls; given: none"),
        ({"auto": "light"}, "given: auto='light', max_metric_calls=10"),
        ({"max_metric_calls": None, "auto": "huge"}, "one of light, medium, heavy"),
        ({"max_metric_calls": 0}, "a whole number from 1 on"),
        ({"max_metric_calls": None, "max_full_evals": 1.5}, "a whole number from 1 on"),
        ({"reflection_lm": None}, "reflection_lm .* or an instruction_proposer"),
        ({"reflection_lm": "openai/some"}, "a dspex.LM"),
        ({"instruction_proposer": "short"}, "a function of"),
        ({"candidate_selection_strategy": "best"}, '"pareto" or "current_best"'),
        ({"component_selector": "random"}, '"round_robin", "all", or a function'),
        ({"reflection_minibatch_size": 0}, "a whole number from 1 on"),
        ({"proposals": 0}, "a whole number from 1 on"),
        ({"num_threads": 0}, "a whole number from 1 on"),
        ({"max_merge_invocations": -1}, "a whole number from 0 on"),
        ({"track_best_outputs": True}, "track_stats=True"),
        ({"perfect_score": None}, "skip_perfect_score=False"),
        ({"perfect_score": "all"}, "perfect_score='all': a number"),
        ({"code_proposer": five}, "code_proposer"),
        ({"use_wandb": True}, "job.events"),
        ({"use_mlflow": True}, "job.events"),
        ({"gepa_kwargs": {"max_reflection_cost": 3}}, "budget="),
        ({"gepa_kwargs": {"sampling_strategy": "independent"}}, "proposals="),
    ],
)
def test_what_has_no_meaning_is_refused(given, says):
    with pytest.raises(dspex.ConfigurationError, match=says):
        dspex.GEPA(five, **{**THREE, **given})


def test_the_arguments_are_dspys_with_its_defaults():
    gepa = dspex.GEPA(five, **THREE)
    defaults = {
        "auto": None, "max_full_evals": None, "reflection_minibatch_size": 3, "candidate_selection_strategy": "pareto",
        "skip_perfect_score": True, "add_format_failure_as_feedback": False, "instruction_proposer": None,
        "component_selector": "round_robin", "use_merge": True, "max_merge_invocations": 5, "num_threads": None,
        "failure_score": 0.0, "perfect_score": 1.0, "log_dir": None, "track_stats": False, "track_best_outputs": False,
        "warn_on_score_mismatch": True, "seed": 0,
    }  # fmt: skip
    assert {name: getattr(gepa, name) for name in defaults} == defaults
    same = {"batch_sampler": "epoch_shuffled", "val_evaluation_policy": "full_eval", "use_cloudpickle": True}
    assert dspex.GEPA(five, **THREE, gepa_kwargs=same)


def test_a_teacher_is_refused(clerk, office):
    gepa = dspex.GEPA(office.metric, max_metric_calls=50, reflection_lm=clerk.lm)
    with pytest.raises(dspex.ConfigurationError, match="no use for a teacher"):
        gepa.compile(office.student, **office.data, teacher=office.student)
    assert not clerk.requests
