"""Labels that a model likes too much, made to cost more where that helps."""

import re
from math import exp, log
from typing import Literal

import pytest

import dspex
from dspex.plugin import Capabilities, Choice, LMResponse, Usage
from dspex.testing import OptimizerContract

TEAMS = ("billing", "delivery", "support")


class Route(dspex.Signature):
    """Who answers the ticket?"""

    ticket: str = dspex.InputField()
    team: Literal["billing", "delivery", "support"] = dspex.OutputField()


class Leaning:
    """Sees in a ticket what it is about, less clearly the larger its number modulo 5, and likes one team `lean` too much."""

    def __init__(self, lean=2.0, logprobs=True, shows=True):
        self.capabilities = Capabilities(chat=True, logprobs=logprobs)
        self.lean, self.shows = lean, shows
        self.requests = []

    async def complete(self, request):
        self.requests.append(request)
        number, team = re.findall(r"#(\d+) (\w+)", request.messages[-1].text)[-1]
        weights = {one: exp((3 - int(number) % 5) * (one == team) + self.lean * (one == "billing")) for one in TEAMS}
        chances = {one: weight / sum(weights.values()) for one, weight in weights.items()}
        return answered(request, "team", chances, self.shows)


def answered(request, field, chances, shows=True):
    """A reply with the likeliest label, and the log-probabilities of its first token where they are asked for."""
    label = max(chances, key=chances.get)
    head, tail = f"[[ ## {field} ## ]]\n", "\n\n[[ ## completed ## ]]"
    pieces = [head, label[:4], label[4:], tail]
    rows = [{"token": piece, "logprob": 0.0} for piece in pieces]
    tops = [{"token": one[:4], "logprob": log(chance)} for one, chance in chances.items()]
    rows[1] = {"token": label[:4], "logprob": log(chances[label]), "top_logprobs": tops}
    logprobs = {"content": rows} if shows and request.params.get("logprobs") else None
    return LMResponse((Choice("".join(pieces), logprobs=logprobs),), Usage(10, 2))


def tickets(count, start=0):
    rows = [(number, TEAMS[number % 3]) for number in range(start, start + count)]
    return [dspex.Example(ticket=f"#{n} {team}", team=team).with_inputs("ticket") for n, team in rows]


def same(example, prediction, trace=None):
    return example.team == prediction.team


def calibrated(model, tmp_path=None, **options):
    student = dspex.Predict(Route)
    with dspex.context(lm=dspex.LM("house/leaning", provider=model, cache=False)):
        return dspex.LabelCalibration(same).compile(
            student, **{"trainset": tickets(6), "valset": tickets(40, 300), "holdout": tickets(60, 600), **options}
        )


def test_what_a_model_likes_too_much_is_made_to_cost_more(tmp_path):
    model = Leaning()
    program = calibrated(model)
    bias = program.choice_bias["team"]
    assert bias["billing"] == min(bias.values()) < 0 < bias["delivery"]
    assert program.evidence.verdict == "better"
    assert program.evidence.score - program.evidence.baseline > 0.19
    assert any(note.startswith("label calibration: tau ") for note in program.evidence.notes)
    program.save(tmp_path / "program.json")
    assert dspex.Predict(Route).load(tmp_path / "program.json").choice_bias == program.choice_bias


def test_a_model_that_leans_to_no_label_is_left_alone():
    program = calibrated(Leaning(lean=0.0))
    assert program.choice_bias is None
    assert any(note.startswith("label calibration: none kept") for note in program.evidence.notes)


def test_the_biases_are_weighed_on_the_same_replies():
    model = Leaning()
    calibrated(model, holdout=0)
    weighed = ["logprobs" in request.params for request in model.requests]
    assert (weighed.count(False), weighed.count(True)) == (40, 40)


def test_labels_are_no_part_of_the_prior():
    made = [
        calibrated(Leaning(), holdout=0, valset=rows) for rows in (tickets(40, 300), _mislabelled(tickets(40, 300)))
    ]
    pools = [{one["label"]: one["program"].choice_bias for one in program.candidate_programs} for program in made]
    assert pools[0]["tau 1"] == pools[1]["tau 1"]


def _mislabelled(rows):
    return [dspex.Example(ticket=one.ticket, team=TEAMS[0]).with_inputs("ticket") for one in rows]


def test_a_bias_that_only_seems_to_help_is_not_kept():
    """On 4 of 5 parts it does better by what the fifth takes back."""
    from dspex_optimizers.calibration import best, held_out

    rows = {0.0: [1, 0, 1, 0, 1], 0.5: [0, 1, 0, 1, 1]}
    folds = [[place] for place in range(5)]
    assert best(rows, range(5)) == 0.0
    chosen, plain = held_out(rows, folds)
    assert chosen <= plain
    rows = {0.0: [0.0] * 4 + [1.0], 0.5: [1.0] * 4 + [0.0]}
    assert held_out(rows, folds) == (0.8, 0.2)


def test_a_model_without_log_probabilities_is_refused_before_anything_is_paid():
    model = Leaning(logprobs=False)
    with pytest.raises(dspex.ConfigurationError, match=r"does not give \(capability: logprobs\)"):
        calibrated(model)
    assert model.requests == []


def test_a_model_that_turns_out_to_give_none_is_refused_after_one_call():
    model = Leaning(logprobs=None, shows=False)
    with pytest.raises(dspex.ConfigurationError, match="nothing to calibrate by: BadRequest"):
        calibrated(model)
    assert len(model.requests) == 1


def test_a_program_without_labels_is_refused(model, data, student, right):
    with pytest.raises(dspex.ConfigurationError, match="this program has none"):
        dspex.LabelCalibration(right).compile(student, trainset=data.trainset)
    assert model.prompts == []


def test_in_a_chain_it_builds_on_the_demonstrations_before_it():
    model = Leaning()
    with dspex.context(lm=dspex.LM("house/leaning", provider=model, cache=False)):
        together = dspex.BetterTogether(same, demos=dspex.LabeledFewShot(2), bias=dspex.LabelCalibration(same))
        program = together.compile(
            dspex.Predict(Route), trainset=tickets(12), valset=tickets(40, 300), strategy="demos -> bias"
        )
    assert len(program.demos) == 2
    assert program.choice_bias["team"]["billing"] < 0


class Urgent(dspex.Module):
    """Two outputs to choose, by two predictors: one of a bool."""

    def __init__(self):
        super().__init__()
        self.team = dspex.Predict(Route)
        self.urgent = dspex.Predict("ticket, team -> urgent: bool")

    def forward(self, ticket):
        team = self.team(ticket=ticket).team
        return dspex.Prediction(team=team, urgent=self.urgent(ticket=ticket, team=team).urgent)


def test_each_predictor_has_biases_of_its_own():
    class Both(Leaning):
        async def complete(self, request):
            if "urgent" in request.messages[0].text:
                return answered(request, "urgent", {"true": 0.9, "false": 0.1})
            return await super().complete(request)

    with dspex.context(lm=dspex.LM("house/both", provider=Both(), cache=False)):
        program = dspex.LabelCalibration(same).compile(Urgent(), trainset=tickets(6), valset=tickets(40, 300))
    assert program.team.choice_bias["team"]["billing"] < 0
    assert set(program.urgent.choice_bias["urgent"]) == {"true", "false"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"num_inputs": 0}, "num_inputs=0"),
        ({"taus": ()}, "taus="),
        ({"taus": (0.0,)}, "taus="),
        ({"taus": ("half",)}, "taus="),
        ({"folds": 1}, "folds=1"),
        ({"metric": None}, "needs a metric"),
    ],
)
def test_wrong_arguments_are_refused(arguments, says):
    with pytest.raises(dspex.ConfigurationError, match=says):
        dspex.LabelCalibration(**{"metric": same, **arguments})


class Sized(dspex.Module):
    """Whether a number is low or high, as the contract's task: rightly said it is that number doubled."""

    def __init__(self):
        super().__init__()
        self.size = dspex.Predict("question -> size: Literal['low', 'high']")

    async def aforward(self, question):
        number = int(question[2:])
        said = (await self.size.acall(question=question)).size
        return dspex.Prediction(answer=str(2 * number) if said == ("high" if number % 4 > 1 else "low") else "0")


class TestLabelCalibration(OptimizerContract):
    cuts = 20

    def make(self, metric, trainset):
        return dspex.LabelCalibration(metric, num_inputs=6, folds=3)

    def student(self):
        return Sized()

    def reply(self, request):
        number = int(re.findall(r"n=(\d+)", request.messages[-1].text)[-1])
        high = exp((number % 4 - 1.5) / 2 + 1.5)
        return answered(request, "size", {"low": 1 / (1 + high), "high": high / (1 + high)})


@pytest.mark.parametrize(("logprobs", "is_tried"), [(True, True), (None, False)], ids=["shown", "not known"])
def test_a_race_of_strategies_weighs_the_labels_of_its_leader(logprobs, is_tried):
    model = Leaning(logprobs=logprobs)
    with dspex.context(lm=dspex.LM("house/leaning", provider=model, cache=False)):
        program = dspex.optimize(dspex.Predict(Route), tickets(30), same, 500, valset=tickets(40, 300))
    assert len(model.requests) == program.ledger.calls <= 500
    assert bool(program.choice_bias) == is_tried
    assert any(one.params.get("logprobs") for one in model.requests) == is_tried
