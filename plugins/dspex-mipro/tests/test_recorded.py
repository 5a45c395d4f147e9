"""What the searches of this package make of a real model: Gemma 3 270M, played from cassettes.

DSPEX_CASSETTES=record records them anew, with dspex-llamacpp.
"""

import os
from pathlib import Path
from typing import Any

import dspex

FOLDER = Path(__file__).parent / "cassettes"
MODE: Any = os.environ.get("DSPEX_CASSETTES", "replay")
CITIES = {
    "Lyon": "FR", "Osaka": "JP", "Milan": "IT", "Leeds": "GB", "Graz": "AT", "Porto": "PT", "Turin": "IT", "Nagoya": "JP",
    "Nantes": "FR", "Malmo": "SE", "Krakow": "PL", "Boston": "US", "Toulouse": "FR", "Kyoto": "JP", "Naples": "IT",
    "Bergen": "NO", "Seville": "ES", "Denver": "US", "Hamburg": "DE", "Lille": "FR",
}  # fmt: skip
TWO_LETTERS = r'root ::= " " [A-Z] [A-Z] "\n"'


def rows() -> list[dspex.Example]:
    return [dspex.Example(city=city, country=code).with_inputs("city") for city, code in CITIES.items()]


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.country == prediction.country.strip())


def compiled(search: Any, cassette: str, **arguments: Any) -> Any:
    signature = dspex.Signature("city -> country", "Give the two-letter country code of the city.")
    student = dspex.Predict(signature, grammar=TWO_LETTERS, max_tokens=4)
    lm = dspex.LM("llamacpp/gemma-3-270m", temperature=0.0, cache=False)
    with dspex.cassette(FOLDER / f"{cassette}.jsonl", mode=MODE), dspex.context(lm=lm):
        return search.compile(student, trainset=rows()[:10], valset=rows()[10:], **arguments)


def test_mipro_finds_demonstrations_and_instructions_for_the_recorded_model():
    search = dspex.MIPROv2(metric=right, auto=None, num_candidates=3, max_bootstrapped_demos=1, max_labeled_demos=3)
    program = compiled(search, "mipro", num_trials=4, minibatch=False)
    assert program.demos
    assert program.evidence.score >= program.evidence.baseline + 0.3
    assert program.evidence.usage["prompt"]["calls"] >= 2


def test_one_demonstration_is_found_for_the_recorded_model():
    search = dspex.BootstrapFewShotWithOptuna(right, num_candidate_programs=3, max_labeled_demos=2)
    program = compiled(search, "one_demo", max_demos=3)
    assert program.demos
    assert program.evidence.score > program.evidence.baseline
