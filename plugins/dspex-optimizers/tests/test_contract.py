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


class TestCOPRO(OptimizerContract):
    def make(self, metric, trainset):
        return dspex.COPRO(metric=metric, breadth=3, depth=2, track_stats=True)


class TestSIMBA(OptimizerContract):
    def make(self, metric, trainset):
        return dspex.SIMBA(metric=metric, bsize=4, num_candidates=2, max_steps=2, max_demos=2)

    def reply(self, request):
        """A rule that follows from what was asked, and now and then one that cannot be read."""
        text = request.messages[-1].text
        if "module_advice" not in text:
            return None
        rule = f'{{"answer": "double it, as {len(text)}"}}' if len(text) % 5 else "no rule"
        return f"[[ ## discussion ## ]]\nso\n\n[[ ## module_advice ## ]]\n{rule}\n\n[[ ## completed ## ]]"


class TestInferRules(OptimizerContract):
    def make(self, metric, trainset):
        return dspex.InferRules(2, 3, metric=metric, max_bootstrapped_demos=2, max_labeled_demos=3)


class TestStrategyRace(OptimizerContract):
    def make(self, metric, trainset):
        return dspex.StrategyRace(metric, 90)

    def data(self, trainset, valset):
        return {"trainset": trainset, "valset": valset}
