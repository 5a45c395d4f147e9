"""Each optimizer holds the contract of all optimizers."""

import dspex
from dspex.testing import DummyVectorizer, OptimizerContract


class TestLabeledFewShot(OptimizerContract):
    def make(self, metric, trainset):
        return dspex.LabeledFewShot(3)


class TestBootstrapFewShot(OptimizerContract):
    def make(self, metric, trainset):
        return dspex.BootstrapFewShot(metric, max_bootstrapped_demos=3, max_labeled_demos=5, max_rounds=2)


class TestBootstrapFewShotWithRandomSearch(OptimizerContract):
    def make(self, metric, trainset):
        return dspex.BootstrapFewShotWithRandomSearch(
            metric, max_bootstrapped_demos=2, max_labeled_demos=3, num_candidate_programs=2, race_z=1.64
        )


class TestKNNFewShot(OptimizerContract):
    def make(self, metric, trainset):
        return dspex.KNNFewShot(2, trainset, DummyVectorizer(), metric=metric)

    def data(self, trainset, valset):
        return {"valset": valset}
