"""Declares the optimizers; nothing is imported before one is used, and optuna not before the first proposal."""

import dspex

SUMMARIES = {
    "MIPROv2": ("mipro:MIPROv2", "instructions that a model proposes, and demonstrations, chosen together"),
    "BootstrapFewShotWithOptuna": ("one_demo:BootstrapFewShotWithOptuna", "one demonstration a predictor, by search"),
}


@dspex.hookimpl
def dspex_optimizers() -> list[dspex.Spec]:
    """`dspex.NAME` for each of them."""
    return [dspex.Spec(name, f"dspex_mipro.{home}", text) for name, (home, text) in SUMMARIES.items()]
