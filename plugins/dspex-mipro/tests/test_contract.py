"""Both optimizers hold the contract of all optimizers."""

import dspex
from dspex.testing import OptimizerContract


class TestMIPROv2(OptimizerContract):
    cuts = 10

    def make(self, metric, trainset):
        return dspex.MIPROv2(metric, auto=None, num_candidates=4, max_bootstrapped_demos=2, max_labeled_demos=2)

    def data(self, trainset, valset):
        return {
            "trainset": trainset,
            "valset": valset,
            "num_trials": 6,
            "minibatch_size": 3,
            "minibatch_full_eval_steps": 3,
            "view_data_batch_size": 4,
        }


class TestMIPROv2WithoutDemonstrations(OptimizerContract):
    cuts = 8

    def make(self, metric, trainset):
        return dspex.MIPROv2(
            metric,
            max_bootstrapped_demos=0,
            max_labeled_demos=0,
            auto=None,
            num_candidates=4,
            summary="parallel",
            race=1.64,
        )

    def data(self, trainset, valset):
        return {"trainset": trainset, "num_trials": 14, "minibatch": False, "view_data_batch_size": 2}


class TestBootstrapFewShotWithOptuna(OptimizerContract):
    cuts = 10

    def make(self, metric, trainset):
        return dspex.BootstrapFewShotWithOptuna(metric, max_labeled_demos=4, num_candidate_programs=6)

    def data(self, trainset, valset):
        return {"trainset": trainset, "valset": valset, "max_demos": 3}
