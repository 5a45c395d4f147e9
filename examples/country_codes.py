"""A whole program: a bare prompt, the same with demonstrations, and an honest comparison, on the embedded model.

python examples/country_codes.py
"""

import dspex

CITIES = (
    "Lyon FR, Milan IT, Osaka JP, Krakow PL, Porto PT, Malmo SE, Bergen NO, Seville ES, Leeds GB, Busan KR, Accra GH, "
    "Lima PE, Munich DE, Haifa IL, Mumbai IN, Hanoi VN, Lagos NG, Quito EC, Sofia BG, Riga LV, Vienna AT, Cairo EG, "
    "Doha QA, Tunis TN, Nairobi KE, Havana CU, Zagreb HR, Tallinn EE, Cork IE, Geneva CH"
)


class CountryCode(dspex.Signature):
    """Give the two-letter country code of the city."""

    city: str = dspex.InputField()
    country: str = dspex.OutputField()


def is_right(example: dspex.Example, prediction: dspex.Prediction, trace: object = None) -> bool:  # noqa: ARG001  optimizers give it
    """Whether the code is the one that is meant."""
    return bool(example.country == prediction.country)


def main() -> dspex.Comparison:
    """Make the program, compare it with the bare prompt on cities that are no demos, and save it."""
    pairs = (pair.split() for pair in CITIES.split(", "))
    examples = [dspex.Example(city=city, country=code).with_inputs("city") for city, code in pairs]
    bare = dspex.Predict(CountryCode, max_tokens=4)
    with dspex.context(lm=dspex.LM("llamacpp/gemma-3-270m", temperature=0.0)), dspex.budget(calls=60) as spent:
        program = dspex.LabeledFewShot(k=8).compile(bare, trainset=examples[:8])
        gain = dspex.compare(bare, program, examples[8:], is_right)
    print(gain)
    print(f"{spent.spent.calls} calls, {spent.spent.tokens} tokens")
    program.save("country_codes.json")
    return gain


if __name__ == "__main__":
    main()
