"""GEPA holds the contract of all optimizers."""

import functools

import dspex
from dspex.testing import OptimizerContract


def with_five(metric):
    """The contract's metric, which takes three arguments, in the form that GEPA asks for."""

    @functools.wraps(metric)
    def judge(gold, pred, trace=None, pred_name=None, pred_trace=None):
        return metric(gold, pred, trace)

    judge.__wrapped__ = None
    del judge.__wrapped__
    return judge


class Feedback:
    """A metric that says more of each predictor."""

    def __init__(self, metric):
        self.metric = metric

    def __call__(self, gold, pred, trace=None, pred_name=None, pred_trace=None):
        score = self.metric(gold, pred, trace)
        if pred_name is None:
            return score
        [(predictor, inputs, outputs)] = pred_trace
        return dspex.Prediction(score=score, feedback=f"{pred_name} of {inputs['question']} gave {sorted(outputs.keys())}")


class TestGEPA(OptimizerContract):
    cuts = 16

    def make(self, metric, trainset):
        return dspex.GEPA(Feedback(metric), max_metric_calls=60, reflection_lm=dspex.settings.lm)


class TestGEPAWithSeveralProposals(OptimizerContract):
    cuts = 8
    sizes = ((9, 6), (4, 10))

    def make(self, metric, trainset):
        return dspex.GEPA(
            Feedback(metric),
            max_metric_calls=90,
            reflection_lm=dspex.settings.lm,
            component_selector="all",
            proposals=3,
            skip_perfect_score=False,
            candidate_selection_strategy="current_best",
        )


class TestGEPAWithAProposer(OptimizerContract):
    cuts = 8

    def make(self, metric, trainset):
        def shorter(candidate, reflective_dataset, components_to_update):
            return {name: f"{candidate[name]} {len(reflective_dataset[name])}" for name in components_to_update}

        def last(state, trajectories, subsample_scores, candidate_idx, candidate):
            return list(candidate)[state.i % 2 :]

        return dspex.GEPA(
            Feedback(metric), max_metric_calls=60, instruction_proposer=shorter, component_selector=last
        )
