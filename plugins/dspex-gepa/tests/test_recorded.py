"""What GEPA makes of a real model that reflects on itself: Gemma 3 270M, played from a cassette.

DSPEX_CASSETTES=record records it anew, with dspex-llamacpp.
"""

import os
from pathlib import Path
from typing import Any

import dspex

CASSETTE = Path(__file__).parent / "cassettes" / "cities.jsonl"
MODE: Any = os.environ.get("DSPEX_CASSETTES", "replay")
MODEL = "llamacpp/gemma-3-270m"
CITIES = {
    "Lyon": "FR", "Osaka": "JP", "Milan": "IT", "Leeds": "GB", "Graz": "AT", "Porto": "PT", "Nagoya": "JP", "Malmo": "SE",
    "Krakow": "PL", "Boston": "US", "Toulouse": "FR", "Bergen": "NO", "Seville": "ES", "Hamburg": "DE",
}  # fmt: skip
TWO_LETTERS = r'root ::= " " [A-Z] [A-Z] "\n"'


def rows() -> list[dspex.Example]:
    return [dspex.Example(city=city, country=code).with_inputs("city") for city, code in CITIES.items()]


def feedback(example: Any, prediction: Any, trace: Any = None, _name: Any = None, _steps: Any = None) -> Any:
    said = prediction.country.strip()
    is_right = said == example.country
    words = "Right." if is_right else f"Wrong: {said} is not the country of {example.city}, it is {example.country}."
    return dspex.Prediction(score=float(is_right), feedback=words)


def test_the_recorded_model_rewrites_its_instructions_and_only_better_ones_are_kept():
    signature = dspex.Signature("city -> country", "Give the two-letter country code of the city.")
    student = dspex.Predict(signature, grammar=TWO_LETTERS, max_tokens=4)
    student.demos = rows()[:2]
    reflection = dspex.LM(MODEL, temperature=1.0, max_tokens=60, cache=False)
    lm = dspex.LM(MODEL, temperature=0.0, cache=False)
    with dspex.cassette(CASSETTE, mode=MODE), dspex.context(lm=lm):
        search = dspex.GEPA(metric=feedback, max_metric_calls=60, reflection_lm=reflection)
        program = search.compile(student, trainset=rows()[2:8], valset=rows()[8:])
    tried = {one["program"].signature.instructions: one["score"] for one in program.candidate_programs}
    assert program.evidence.usage["reflection"]["calls"] >= 2
    assert tried[program.signature.instructions] == max(tried.values()) >= tried[signature.instructions] > 0
