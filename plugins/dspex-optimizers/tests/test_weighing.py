"""A race of strategies where the model shows how likely each label is."""

import re
from collections import Counter
from math import exp, log
from typing import Any, Literal

import pytest

import dspex
from dspex.plugin import Capabilities, Choice, LMRequest, LMResponse, Usage

TEAMS = ("billing", "delivery", "support")


class Route(dspex.Signature):
    """Who answers the ticket?"""

    ticket: str = dspex.InputField()
    team: Literal["billing", "delivery", "support"] = dspex.OutputField()


class Leaning:
    """Tells tickets apart if it was shown some, and likes one team too much; which, depends on how many it was shown."""

    def __init__(self, shows: bool = True) -> None:
        self.capabilities = Capabilities(chat=True, logprobs=True)
        self.shows = shows
        self.requests: list[LMRequest] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        self.requests.append(request)
        if request.params.get("logprobs") and not self.shows:
            return LMResponse.from_text("[[ ## team ## ]]\nsupport")
        number, team = re.findall(r"#(\d+) (\w+)", request.messages[-1].text)[-1]
        shown = [found for message in request.messages for found in re.findall(r"## team ## \]\]\n(\w+)", message.text)]
        liked = TEAMS[len(shown) % 3]
        sees = 1.0 if shown else 0.0
        scores = {one: sees * (3 - int(number) % 3) * (one == team) + 2.5 * (one == liked) for one in TEAMS}
        total = log(sum(map(exp, scores.values())))
        label = max(scores, key=lambda one: scores[one])
        pieces = ["[[ ## team ## ]]\n", label, "\n\n[[ ## completed ## ]]"]
        rows: list[dict[str, Any]] = [{"token": piece, "logprob": 0.0} for piece in pieces]
        rows[1]["top_logprobs"] = [{"token": one, "logprob": score - total} for one, score in scores.items()]
        rows[1]["logprob"] = scores[label] - total
        logprobs = {"content": rows} if request.params.get("logprobs") else None
        return LMResponse((Choice("".join(pieces), logprobs=logprobs),), Usage(10, 2))


def tickets(start: int, count: int) -> list[dspex.Example]:
    rows = [(number, TEAMS[number // 3 % 3]) for number in range(start, start + count)]
    return [dspex.Example(ticket=f"#{number} {team}", team=team).with_inputs("ticket") for number, team in rows]


def same(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.team == prediction.team)


def optimized(model: Leaning, calls: int = 300, **options: Any) -> Any:
    with dspex.context(lm=dspex.LM("house/leaning", provider=model, cache=False)):
        given = {"valset": tickets(300, 27), "holdout": 0, **options}
        return dspex.optimize(dspex.Predict(Route), tickets(0, 45), same, calls, **given)


def test_demonstrations_are_compared_with_the_leaning_that_they_cause_taken_off():
    program = optimized(Leaning())
    assert program.demos
    assert any(program.choice_bias["team"].values())
    assert program.evidence.score == 1.0 > program.evidence.baseline + 0.5
    plain = [one for one in program.candidate_programs if one["program"].demos and "weighed by" not in one["label"]]
    assert max(one["score"] for one in plain) < 100.0


@pytest.mark.parametrize("calls", [30, 61, 100, 300])
def test_weights_cost_no_call(calls):
    model = Leaning()
    program = optimized(model, calls)
    assert len(model.requests) == program.ledger.calls <= calls
    assert program.evidence.stopped == "done"
    asked = {(str(request.messages), str(request.params)) for request in model.requests}
    assert len(asked) == len(model.requests)


def test_a_model_that_shows_no_likelihoods_after_all_is_raced_as_it_is():
    model = Leaning(shows=False)
    program = optimized(model)
    assert sum("logprobs" in request.params for request in model.requests) == 1
    assert program.choice_bias is None
    assert program.demos
    assert "labels are compared as they come: no reply shows how likely each was" in program.evidence.notes


def test_weights_are_saved_with_the_program_and_a_run_goes_on_without_a_call(tmp_path):
    model = Leaning()
    first = optimized(model, run_dir=tmp_path / "run")
    before = len(model.requests)
    again = optimized(model, run_dir=tmp_path / "run")
    assert len(model.requests) == before
    assert again.dump_state() == first.dump_state()
    first.save(tmp_path / "program.json")
    assert dspex.Predict(Route).load(tmp_path / "program.json").choice_bias == first.choice_bias


def test_two_families_that_are_alike_are_told_apart_by_examples_beside_the_valset():
    program = optimized(Leaning(), valset=tickets(300, 12))
    assert any("points beside" in note for note in program.evidence.notes)


def test_where_neighbours_share_no_answer_only_draws_are_tried():
    rows = [
        dspex.Example(ticket=f"#{number} {TEAMS[number % 3]}", team=TEAMS[number // 3 % 3]).with_inputs("ticket")
        for number in range(45)
    ]
    with dspex.context(lm=dspex.LM("house/leaning", provider=Leaning(), cache=False)):
        program = dspex.optimize(dspex.Predict(Route), rows, same, valset=tickets(300, 27), holdout=0)
    labels = [one["label"] for one in program.candidate_programs]
    assert any("16 demonstrations" in label for label in labels)
    assert not any("nearest" in label for label in labels)


def test_two_of_three_draws_show_each_label_as_often_as_any_other():
    rare = [one for one in tickets(0, 90) if one.team != "support" or int(one.ticket[1:3]) < 30]
    rows = [
        dspex.Example(ticket=f"#{at} {TEAMS[at % 3]}", team=one.team).with_inputs("ticket")
        for at, one in enumerate(rare)
    ]
    with dspex.context(lm=dspex.LM("house/leaning", provider=Leaning(), cache=False)):
        program = dspex.optimize(dspex.Predict(Route), rows, same, valset=tickets(300, 27), holdout=0)
    counts = {
        one["label"]: sorted(Counter(demo["team"] for demo in one["program"].demos).values())
        for one in program.candidate_programs
    }
    assert [counts[f"8 demonstrations, draw {draw}"] for draw in (0, 1)] == [[2, 3, 3], [2, 3, 3]]
    assert counts["16 demonstrations, draw 3"] == [5, 5, 6]
    assert counts["8 demonstrations, draw 2"] != [2, 3, 3]
