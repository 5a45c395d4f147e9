"""Declares the optimizers; nothing is imported before one is used."""

import dspex

SUMMARIES = {
    "BetterTogether": ("together:BetterTogether", "optimizers one after another, and the best of their programs"),
    "BootstrapFinetune": ("finetune:BootstrapFinetune", "models trained on a teacher's own good runs"),
    "LabelCalibration": ("calibration:LabelCalibration", "biases for labels that a model likes too much"),
    "LabeledFewShot": ("labeled:LabeledFewShot", "training examples as demonstrations"),
    "BootstrapFewShot": ("bootstrap:BootstrapFewShot", "a teacher's own good runs as demonstrations"),
    "BootstrapFewShotWithRandomSearch": ("search:BootstrapFewShotWithRandomSearch", "the best of many sets of them"),
    "COPRO": ("copro:COPRO", "instructions that a model proposes, round by round"),
    "Ensemble": ("ensemble:Ensemble", "several programs as one"),
    "KNNFewShot": ("knn:KNNFewShot", "for each call the runs that are most like it"),
    "InferRules": ("infer_rules:InferRules", "rules that a model reads out of the examples"),
    "SIMBA": ("simba:SIMBA", "demonstrations and rules from runs that differ on one example"),
    "StrategyRace": ("strategies:StrategyRace", "several strategies under one budget; what dspex.optimize runs"),
    "BootstrapRS": ("search:BootstrapFewShotWithRandomSearch", "short for BootstrapFewShotWithRandomSearch"),
}


@dspex.hookimpl
def dspex_optimizers() -> list[dspex.Spec]:
    """`dspex.NAME` for each of them."""
    return [dspex.Spec(name, f"dspex_optimizers.{home}", text) for name, (home, text) in SUMMARIES.items()]
