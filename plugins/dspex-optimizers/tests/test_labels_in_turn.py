"""Where a predictor chooses among labels, no draw of demonstrations leans to one of them."""

import enum
from collections import Counter
from itertools import pairwise
from typing import Any, Literal

import pytest

import dspex
from dspex.plugin import Capabilities, LMRequest, LMResponse
from dspex_optimizers.labeled import in_turn

Parity = Literal["even", "odd"]


class Guesser:
    """Says "even" to whatever it is asked."""

    capabilities = Capabilities(chat=True)

    def __init__(self) -> None:
        self.shown: list[list[str]] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        turns = [message.text for message in request.messages if message.role == "assistant"]
        self.shown.append(["even" if "even" in text else "odd" for text in turns])
        return LMResponse.from_text("[[ ## parity ## ]]\neven\n\n[[ ## completed ## ]]", dspex.Usage(10, 5))


@pytest.fixture
def guesser() -> Guesser:
    """The model of the test, set as the App's."""
    model = Guesser()
    dspex.configure(lm=dspex.LM("guesser", provider=model, cache=False))
    return model


def numbers(odd: int, even: int) -> list[dspex.Example]:
    rows = [(f"n={2 * n + 1}", "odd") for n in range(odd)] + [(f"n={2 * n}", "even") for n in range(even)]
    return [dspex.Example(question=question, parity=parity).with_inputs("question") for question, parity in rows]


def student() -> Any:
    return dspex.Predict(dspex.Signature("question -> parity: Parity", custom_types={"Parity": Parity}))


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.parity == prediction.parity)


def labels(program: Any) -> list[str]:
    return [demo["parity"] for demo in program.demos]


@pytest.mark.parametrize("seed", range(4))
def test_a_draw_shows_each_label_as_often_and_none_three_times_in_a_row(guesser, seed):
    drawn = labels(dspex.LabeledFewShot(k=8).compile(student(), trainset=numbers(30, 10), seed=seed))
    assert Counter(drawn) == {"odd": 4, "even": 4}
    assert all(len({*pair}) == 2 for pair in zip(drawn[::2], drawn[1::2], strict=True))


def test_a_label_that_runs_out_leaves_its_place_to_others(guesser):
    drawn = labels(dspex.LabeledFewShot(k=8).compile(student(), trainset=numbers(30, 2)))
    assert Counter(drawn) == {"odd": 6, "even": 2}
    assert drawn[4:] == ["odd"] * 4


def test_a_draw_may_be_as_the_data_are(guesser):
    found = Counter[str]()
    for seed in range(20):
        few = dspex.LabeledFewShot(k=8, by_label=False)
        found += Counter(labels(few.compile(student(), trainset=numbers(30, 10), seed=seed)))
    assert 0.65 < found["odd"] / found.total() < 0.85


def test_labelled_demos_beside_bootstrapped_ones_make_up_for_their_labels(guesser):
    """The teacher is right only where it is even, so its two runs are both that."""
    bootstrap = dspex.BootstrapFewShot(right, max_bootstrapped_demos=2, max_labeled_demos=6)
    program = bootstrap.compile(student(), trainset=numbers(12, 12))
    assert [bool(demo.get("augmented")) for demo in program.demos] == [True, True, False, False, False, False]
    assert Counter(labels(program)) == {"even": 3, "odd": 3}
    assert Counter(guesser.shown[0]) == {"even": 3, "odd": 3}  # the teacher's own


def test_members_of_an_enum_are_labels_as_their_values_are(guesser):
    class Kind(enum.Enum):
        EVEN = "even"
        ODD = "odd"

    rows = [
        dspex.Example(question=one.question, parity=Kind(one.parity)).with_inputs("question") for one in numbers(9, 9)
    ]
    program = dspex.Predict(dspex.Signature("question -> parity: Kind", custom_types={"Kind": Kind}))
    bootstrap = dspex.BootstrapFewShot(right, max_bootstrapped_demos=2, max_labeled_demos=6)
    made = bootstrap.compile(program, trainset=rows)
    assert Counter(getattr(label, "value", label) for label in labels(made)) == {"even": 3, "odd": 3}


def test_a_search_draws_labels_in_turn_unless_it_is_told_not_to(guesser):
    leaning = []
    for by_label in (True, False):
        search = dspex.BootstrapRS(
            right, max_bootstrapped_demos=0, max_labeled_demos=6, num_candidate_programs=5, by_label=by_label
        )
        found = search.compile(student(), trainset=numbers(18, 18), valset=numbers(2, 2), holdout=0)
        sets = [labels(one["program"]) for one in found.candidate_programs if one["program"].demos]
        leaning.append(max(abs(one.count("odd") - 3) for one in sets))
    assert leaning[0] == 0 < leaning[1]


def test_places_are_ranked_by_rounds_and_earlier_turns_count():
    assert in_turn(list("aabbbc")) == [0, 2, 5, 1, 3, 4]
    assert in_turn(list("aabb"), had="aa") == [2, 3, 0, 1]
    ranked = [list("abab" * 3)[place] for place in in_turn(list("ab" * 6))]
    assert all(one != other for one, other in pairwise(ranked))
