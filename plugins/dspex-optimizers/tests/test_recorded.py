"""What each optimizer makes of a real model: Gemma 3 270M, played from cassettes.

DSPEX_CASSETTES=record records them anew, with dspex-llamacpp; the figures below are then those of the new recording.
"""

import json
import os
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

import dspex
from dspex.plugin import Capabilities, FineTuneSpec, FineTuneStatus, LMRequest, LMResponse

FOLDER = Path(__file__).parent / "cassettes"
TRAINED = FOLDER / "BootstrapFinetune.json"
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
    "SIMBA": (6, 26), "InferRules": (6, 22), "LabelCalibration": (6, 12), "BetterTogether": (6, 18), "StrategyRace": (6, 24),
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


@pytest.mark.parametrize("reduced", [False, True], ids=["all", "the majority"])
def test_an_ensemble_of_recorded_programs_says_what_its_programs_say(reduced):
    """Three draws of demonstrations; its answers are counted from theirs, so that no figure has to be kept."""
    lm = dspex.LM(MODEL, temperature=0.0, cache=False)
    ensemble = dspex.Ensemble(reduce_fn=dspex.majority if reduced else None)
    with dspex.cassette(FOLDER / f"Ensemble-{'majority' if reduced else 'all'}.jsonl", mode=MODE), dspex.context(lm=lm):
        few, student = dspex.LabeledFewShot(k=3), dspex.Predict(Tone, max_tokens=8)
        programs = [few.compile(student, trainset=TRAIN, seed=seed) for seed in range(3)]
        program = ensemble.compile(programs)
        for one in TEST:
            alone = [part(review=one.review).tone for part in programs]
            said = program(review=one.review)
            assert (said.tone if reduced else [each.tone for each in said]) == (
                max(alone, key=alone.count) if reduced else alone
            )


class House:
    """Gemma 3 270M and what was trained of it, by jobs.

    Nothing here can change weights, so a training is the model with its rows in front of each question: what it makes of them is its own
    doing, and was recorded too. A cassette has no trainings, so the replies are in a file by prompt.
    """

    capabilities = Capabilities(chat=False, grammar=True)

    def __init__(self) -> None:
        self.replies: dict[str, str] = {} if MODE == "record" else json.loads(TRAINED.read_text())
        self.specs: dict[str, FineTuneSpec] = {}
        self.asked = 0

    async def complete(self, request: LMRequest) -> LMResponse:
        self.asked += 1
        prompt, spec = request.messages[0].text, self.specs.get(request.model)
        if spec is not None:
            prompt = "\n\n".join([*(row["prompt"] + row["completion"].rstrip() for row in spec.rows), prompt])
        if MODE == "record":
            real = dspex.LM(MODEL, temperature=0.0, cache=False)
            self.replies[prompt] = (await real.acall(prompt, **msgspec.to_builtins(dict(request.params))))[0]
        return LMResponse.from_text(self.replies[prompt], dspex.Usage(len(prompt) // 4, 2))

    async def finetune_start(self, spec: FineTuneSpec) -> str:
        self.specs[f"gemma-{spec.key[:4]}"] = spec
        return f"gemma-{spec.key[:4]}"

    async def finetune_status(self, job: str) -> FineTuneStatus:
        return FineTuneStatus("succeeded", job, wait=0.0)

    async def finetune_cancel(self, job: str) -> None:
        """It has ended already."""


@pytest.fixture
def house() -> Any:
    """The provider, whose model is the App's; what it said anew is kept."""
    found = House()
    dspex.configure(lm=dspex.LM("house/gemma", provider=found, cache=False))
    yield found
    if MODE == "record":
        TRAINED.write_text(json.dumps(found.replies, indent=0, sort_keys=True) + "\n")


def test_a_recorded_model_is_trained_on_those_of_its_runs_that_are_right(house):
    student = dspex.Predict(Tone, max_tokens=8)
    good = [one for one in TRAIN if right(one, student(review=one.review))]
    program = dspex.BootstrapFinetune(right).compile(student, trainset=TRAIN, valset=VALIDATION)
    (spec,) = house.specs.values()
    assert spec.format == "completion"
    assert sorted(row["completion"].strip() for row in spec.rows) == sorted(one.tone for one in good)
    assert all(any(one.review in row["prompt"] for row in spec.rows) for one in good)
    assert 0 < len(good) < len(TRAIN)
    assert (program.lm.model, student.lm) == (f"house/{next(iter(house.specs))}", None)
    before, after = (dspex.Evaluate(devset=TEST, metric=right)(one).score for one in (student, program))
    assert (before, after) == (75.0, 87.5)
    assert program.ledger.calls == len(TRAIN)
