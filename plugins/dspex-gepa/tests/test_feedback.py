"""What a reflection is shown: the comments of the metric reach the prompt, typed, by predictor, and failures are left out or told."""

import asyncio
from typing import Literal

import pytest

import dspex
from dspex.plugin import LMResponse


def compiled(office, metric=None, student=None, **options):
    """A compile of one round, unless told otherwise."""
    options = {"max_metric_calls": 12 + 6 + 12, "reflection_lm": dspex.settings.lm, **options}
    return dspex.GEPA(metric or office.metric, **options).compile(student or office.student, **office.data)


def test_the_instructions_the_runs_and_the_comments_stand_in_the_question(clerk, office):
    compiled(office)
    [asked] = clerk.reflections
    assert office.student.signature.instructions in asked
    assert "`self` reads `ticket` (str) and writes `desk` (str)" in asked
    runs = asked.partition("# Run 1")[2]
    shown = [one for one in office.data["trainset"] if f"ticket: {one.ticket}\n" in runs]
    assert len(shown) == runs.count("desk: nobody") == 3
    assert all(f"{one.ticket.split()[-1]} goes to {one.desk}" in runs for one in shown)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda score: dspex.Prediction(score=score, feedback="Look at the verb."), "Look at the verb."),
        (lambda score: {"score": score, "feedback": "Look at the verb."}, "Look at the verb."),
        (lambda score: dspex.Prediction(score=score, feedback=None), "The run scored 0."),
        (lambda score: score, "The run scored 0."),
        (bool, "The run scored 0."),
    ],
    ids=["prediction", "dictionary", "no feedback", "number", "bool"],
)
def test_a_metric_may_give_any_of(clerk, office, given, says):
    compiled(office, lambda gold, pred, trace, pred_name, pred_trace: given(0.0))
    assert clerk.reflections[0].count(f"## Comment\n\n{says}") == 3


@pytest.mark.parametrize("kind", ["sync", "async", "module"])
def test_a_metric_of_any_kind_is_asked(clerk, office, kind):
    async def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        await asyncio.sleep(0)
        return office.metric(gold, pred)

    class Judge(dspex.Module):
        async def aforward(self, gold, pred, trace=None, pred_name=None, pred_trace=None):
            return await metric(gold, pred)

    compiled(office, {"sync": office.metric, "async": metric, "module": Judge()}[kind])
    assert "goes to" in clerk.reflections[0]


class Desk(dspex.Signature):
    """Say who is to read it."""

    ticket: str = dspex.InputField(desc="what came in")
    urgent: bool = dspex.OutputField()
    desk: Literal["money", "post", "help", "nobody"] = dspex.OutputField()


class Office(dspex.Module):
    """Three calls of two predictors."""

    def __init__(self):
        super().__init__()
        self.first = dspex.Predict("ticket -> hint")
        self.last = dspex.Predict("ticket, hint -> desk, sure: bool")

    async def aforward(self, ticket):
        hints = [(await self.first.acall(ticket=f"{ticket}, look {n}")).hint for n in range(2)]
        return await self.last.acall(ticket=ticket, hint=hints[-1])


class Words:
    """A model that writes the same words to everybody, and new instructions when asked to reflect."""

    def __init__(self, **words):
        self.words = {"hint": "a hint", "desk": "post", "sure": "True", **words}
        self.asked = []

    async def complete(self, request):
        last = request.messages[-1].text
        self.asked.append(last)
        names = [
            name for name in (*self.words, "new_instruction") if f"[[ ## {name} ## ]]" in last.rsplit("\n\n", 1)[-1]
        ]
        words = {**self.words, "new_instruction": f"Do better, {len(self.asked)}."}
        return LMResponse.from_text("\n".join(f"[[ ## {name} ## ]]\n{words[name]}" for name in names))

    @property
    def lm(self):
        return dspex.LM("words", provider=self, cache=False, num_retries=0)


def test_the_metric_is_given_typed_calls_of_the_predictor_that_is_to_change(office):
    seen = []

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        if pred_name is not None:
            seen.append((gold, pred, trace, pred_name, pred_trace))
        return 0.0

    words = Words()
    dspex.configure(lm=words.lm)
    compiled(office, metric, Office(), component_selector="all", reflection_minibatch_size=8, max_metric_calls=40)
    assert [one[3] for one in seen] == ["first"] * 8 + ["last"] * 8
    for gold, pred, trace, name, calls in seen:
        assert gold in office.data["trainset"]
        assert (pred.desk, pred.sure) == ("post", True)
        assert [len(inputs) for _, inputs, _ in trace] == [1, 1, 2]
        [(predictor, inputs, made)] = calls
        assert (
            list(predictor.signature.output_fields)
            == list(made.keys())
            == (["hint"] if name == "first" else ["desk", "sure"])
        )
        assert inputs["ticket"].startswith(gold.ticket)
        assert (predictor, inputs, made) in trace
        assert len({id(one) for one, *_ in trace}) == 2
    assert {inputs["ticket"][-1] for *_, name, [(_, inputs, _)] in seen if name == "first"} == {"0", "1"}
    questions = [text for text in words.asked if "new_instruction" in text]
    assert ["`first` reads" in text for text in questions] == [True, False]


def test_a_metric_that_fails_to_comment_costs_the_comment_only(clerk, office):
    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        if pred_name is not None:
            raise KeyError("no comment")
        return office.metric(gold, pred)

    program = compiled(office, metric)
    assert "goes to" in clerk.reflections[0]  # what was said when the run was scored
    assert program.evidence.stopped == "done"


def test_a_score_for_the_predictor_that_is_another_is_told_once(clerk, office):
    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        return 0.0 if pred_name is None else 0.5

    with pytest.warns(RuntimeWarning, match=r"gave 0.5 for a predictor's call and 0 for its run") as warned:
        compiled(office, metric, max_metric_calls=100)
    assert len(warned) == 1
    compiled(office, metric, warn_on_score_mismatch=False)


class Mumbling:
    """Replies that have no form, for parcels."""

    def __init__(self, clerk):
        self.clerk = clerk

    async def complete(self, request):
        last = request.messages[-1].text
        return (
            LMResponse.from_text("Off you go!")
            if "a parcel" in last and "# Run" not in last
            else await self.clerk.complete(request)
        )


@pytest.mark.parametrize("is_told", [False, True])
def test_replies_that_cannot_be_read_are_shown_where_that_is_asked_for(office, is_told):
    clerk = office.Clerk()
    data = {
        "trainset": office.tickets(3, words=("parcel", "login", "crash")),
        "valset": office.tickets(2),
        "holdout": 0,
    }
    lm = dspex.LM("mumbling", provider=Mumbling(clerk), cache=False, num_retries=0)
    with dspex.context(lm=lm, max_reasks=0):
        gepa = dspex.GEPA(office.metric, max_metric_calls=10, reflection_lm=lm, add_format_failure_as_feedback=is_told)
        gepa.compile(dspex.Predict(Desk), **data)
    [asked] = clerk.reflections or [""]
    if not is_told:
        assert "Off you go!" not in asked
        return
    assert "The reply could not be read. It was:\nOff you go!" in asked
    assert "A reply has to have: `urgent` (bool), `desk` (" in asked
    assert "ticket: #0: a parcel" in asked


def test_where_no_run_can_be_shown_nothing_is_asked(office):
    class Mute:
        asked = 0

        async def complete(self, request):
            self.asked += 1
            return LMResponse.from_text("...")

    mute = Mute()
    lm = dspex.LM("mute", provider=mute, cache=False, num_retries=0)
    with dspex.context(lm=lm, max_reasks=0):
        gepa = dspex.GEPA(office.metric, max_metric_calls=60, reflection_lm=lm, failure_score=0.25, track_stats=True)
        program = gepa.compile(office.student, **office.data)
    assert program.detailed_results.val_aggregate_scores == [0.25]
    assert program.evidence.usage["task"]["calls"] == program.ledger.calls
    assert mute.asked <= 24


def test_long_values_are_cut_and_pictures_are_not_sent(clerk, office):
    from dspex_gepa.reflection import MOST_CHARS, shown, unfenced

    picture = dspex.Image("data:image/png;base64," + "iVBORw0KGgo" * 1_000)
    record = {
        "Inputs": {"long": "x" * 20_000, "picture": picture, "rows": [1, "é"]},
        "Generated Outputs": {},
        "Feedback": "none",
    }
    text = shown([record])
    assert "(12,000 characters left out)" in text
    assert "picture: (Image, not shown)" in text
    assert 'rows: [1, "é"]' in text
    assert len(text) < MOST_CHARS + 200
    assert unfenced("```text\nBe quick.\n```\n") == "Be quick."
    assert unfenced("Write ```x``` so.") == "Write ```x``` so."
