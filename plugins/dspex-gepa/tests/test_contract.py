"""GEPA holds the contract of all optimizers."""

import dspex
from dspex.testing import OptimizerContract


class Feedback:
    """A metric that says more of each predictor."""

    def __init__(self, metric):
        self.metric = metric

    def __call__(self, gold, pred, trace=None, pred_name=None, pred_trace=None):
        score = self.metric(gold, pred, trace)
        if pred_name is None:
            return score
        [(_, inputs, outputs)] = pred_trace
        return dspex.Prediction(
            score=score, feedback=f"{pred_name} of {inputs['question']} gave {sorted(outputs.keys())}"
        )


class TestGEPA(OptimizerContract):
    cuts = 10

    def make(self, metric, trainset):
        return dspex.GEPA(Feedback(metric), max_metric_calls=60, reflection_lm=dspex.settings.lm)


class TestGEPAWithSeveralProposals(OptimizerContract):
    cuts = 6
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
    cuts = 6

    def make(self, metric, trainset):
        def shorter(candidate, reflective_dataset, components_to_update):
            return {name: f"{candidate[name]} {len(reflective_dataset[name])}" for name in components_to_update}

        def last(state, trajectories, subsample_scores, candidate_idx, candidate):
            return list(candidate)[state.i % 2 :]

        return dspex.GEPA(Feedback(metric), max_metric_calls=60, instruction_proposer=shorter, component_selector=last)
