"""What each optimizer makes of a real model: Gemma 3 270M, played from cassettes.

DSPEX_CASSETTES=record records them anew, with dspex-llamacpp; the figures below are then those of the new recording.
"""

import os
from pathlib import Path
from typing import Any, Literal

import pytest

import dspex

FOLDER = Path(__file__).parent / "cassettes"
MODE: Any = os.environ.get("DSPEX_CASSETTES", "replay")
MODEL = "llamacpp/gemma-3-270m"
GOOD = (
    "The parcel came a day early and the lamp is lovely.", "Friendly staff, and the soup was the best I have had.",
    "My knees stopped hurting after a week in these shoes.", "A quiet room with a wonderful view of the harbour.",
    "The new battery lasts for two whole days.", "She explained every step, and the tax return took ten minutes.",
    "The children laughed from the first page to the last.", "Crisp sound, and it fits in a pocket.",
    "They repaired the bike for free and cleaned it too.", "I would book this tour again at once.",
    "Soft, warm, and it still looks new after a year.", "The coffee alone is worth the walk.",
)  # fmt: skip
BAD = (
    "The zip broke on the second day.", "We waited an hour for cold noodles.", "The app crashes whenever I open a photo.",
    "The paint smells, and half of it has flaked off.", "Nobody answered the phone for three weeks.",
    "The sequel is a dull copy of the first film.", "The bed was damp and the window did not shut.",
    "It drains the battery and then forgets my settings.", "They charged me twice and called it my mistake.",
    "The handle came off while I was pouring tea.", "A boring talk with slides nobody could read.",
    "The jacket lets the rain in at every seam.",
)  # fmt: skip


def rows(first: int, count: int) -> list[dspex.Example]:
    pairs = [pair for good, bad in zip(GOOD, BAD, strict=True) for pair in ((good, "positive"), (bad, "negative"))]
    return [
        dspex.Example(review=text, tone=tone).with_inputs("review") for text, tone in pairs[2 * first :][: 2 * count]
    ]


TRAIN, VALIDATION, TEST = rows(0, 5), rows(5, 3), rows(8, 4)


class Tone(dspex.Signature):
    """Say whether the customer is content."""

    review: str = dspex.InputField()
    tone: Literal["positive", "negative"] = dspex.OutputField()


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.tone == prediction.tone)


FEW = {"max_bootstrapped_demos": 2, "max_labeled_demos": 4}
OPTIMIZERS: dict[str, Any] = {
    "LabeledFewShot": lambda: dspex.LabeledFewShot(k=4),
    "BootstrapFewShot": lambda: dspex.BootstrapFewShot(right, **FEW),
    "BootstrapRS": lambda: dspex.BootstrapRS(right, num_candidate_programs=1, **FEW),
    "KNNFewShot": lambda: dspex.KNNFewShot(2, TRAIN, metric=right),
    "COPRO": lambda: dspex.COPRO(metric=right, breadth=2, depth=2),
    "SIMBA": lambda: dspex.SIMBA(metric=right, bsize=5, num_candidates=2, max_steps=1),
    "InferRules": lambda: dspex.InferRules(metric=right, num_candidates=2, num_rules=3, **FEW),
    "LabelCalibration": lambda: dspex.LabelCalibration(right),
    "BetterTogether": lambda: dspex.BetterTogether(
        right, demos=dspex.LabeledFewShot(k=4), labels=dspex.LabelCalibration(right)
    ),
    "StrategyRace": lambda: dspex.StrategyRace(right, 30),
}
ARGUMENTS: dict[str, dict[str, Any]] = {"COPRO": {"eval_kwargs": {}}, "BetterTogether": {"strategy": "demos -> labels"}}
# Right answers of eight to the test reviews, and calls of the compile.
FOUND = {
    "LabeledFewShot": (7, 0), "BootstrapFewShot": (7, 6), "BootstrapRS": (6, 36), "KNNFewShot": (5, 10), "COPRO": (6, 26),
    "SIMBA": (6, 26), "InferRules": (6, 28), "LabelCalibration": (6, 12), "BetterTogether": (6, 18), "StrategyRace": (6, 24),
}  # fmt: skip


def compiled(name: str) -> Any:
    return OPTIMIZERS[name]().compile(
        dspex.Predict(Tone, max_tokens=8), trainset=TRAIN, valset=VALIDATION, **ARGUMENTS.get(name, {})
    )


def answered(program: Any) -> int:
    return sum(bool(score) for _, _, score in dspex.Evaluate(devset=TEST, metric=right)(program).results)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_makes_of_the_recorded_model_what_it_made_then(name):
    lm = dspex.LM(MODEL, temperature=0.0, cache=False)
    with dspex.cassette(FOLDER / f"{name}.jsonl", mode=MODE), dspex.context(lm=lm):
        program = compiled(name)
        found = answered(program), program.ledger.calls
    assert MODE == "record" or found == FOUND[name]
