"""InferRules: where rules come from, where they go, and what decides between them."""

import pytest

import dspex


def infer(metric, **options):
    small = {"num_candidates": 3, "num_rules": 4, "max_bootstrapped_demos": 2, "max_labeled_demos": 4}
    return dspex.InferRules(metric=metric, **{**small, **options})


def examples_in(question):
    return question.rsplit("[[ ## examples_text ## ]]", 1)[1].count("n=")


def test_rules_stand_below_the_instructions_of_the_bootstrapped_program(writer, data, student, right):
    model = writer(natural_language_rules=lambda word: f"1. Double it.\n2. Say {word}.")
    program = infer(right).compile(student, trainset=data.trainset, holdout=0)
    ruled = [one["program"] for one in program.candidate_programs if "sample" in one]
    base = next(one["program"] for one in program.candidate_programs if one["label"] == "bootstrap")
    assert len({one.signature.instructions for one in ruled}) == 3
    for one in ruled:
        assert one.signature.instructions.startswith(student.signature.instructions + "\n\n")
        assert "1. Double it.\n2. Say" in one.signature.instructions
        assert one.demos == base.demos != []
    asked = model.asked("natural_language_rules")
    assert [examples_in(one) for one in asked] == [20] * 3
    assert all("number_of_rules ## ]]\n4" in one and "answer: 38" in one and "n=20" not in one for one in asked)
    assert {label["label"] for label in program.candidate_programs} >= {"student", "bootstrap"}


def test_half_of_the_trainset_decides_or_the_valset_that_is_given(writer, data, student, right):
    writer()
    half = infer(right, race_z=None).compile(student, trainset=data.trainset[:21], holdout=0)
    assert {len(one["subscores"]) for one in half.candidate_programs} == {11}
    whole = infer(right, race_z=None).compile(student, trainset=data.trainset, valset=data.valset, holdout=0)
    assert {len(one["subscores"]) for one in whole.candidate_programs} == {20}


def test_it_costs_a_bootstrap_a_question_a_set_and_each_program_on_the_valset(writer, data, student, right):
    model = writer()
    search = infer(right, race_z=None)
    program = search.compile(student, trainset=data.trainset, holdout=0)
    usage = program.evidence.usage
    assert usage["prompt"]["calls"] == len(model.asked("natural_language_rules")) == 3
    assert usage["task"]["calls"] == (3 + 2) * 20
    assert 2 <= usage["teacher"]["calls"] <= 20
    assert program.ledger.calls <= search.estimate(dspex.Shape(1, 1, 20, 20)).high == 20 + 3 + 100
    assert str(search.quote(student, trainset=data.trainset, holdout=0)).startswith("at most 123 calls")


class Shortsighted:
    """A model that reads at most `most` examples; `error` is what it says of more."""

    def __init__(self, model, most, error):
        self.model, self.most, self.error = model, most, error
        self.capabilities = model.capabilities

    async def complete(self, request):
        reply = await self.model.complete(request)
        asked = self.model.asked("natural_language_rules")
        if asked and asked[-1].endswith(request.messages[-1].text) and examples_in(asked[-1]) > self.most:
            raise self.error("by script")
        return reply


def test_what_the_model_cannot_read_is_left_out_from_the_last_on(writer, data, student, right):
    model = writer()
    lm = dspex.LM("short", provider=Shortsighted(model, 17, dspex.ContextWindowExceeded), cache=False, num_retries=0)
    with dspex.context(lm=lm):
        search = infer(right, num_candidates=1)
        program = search.compile(student, trainset=data.trainset, holdout=0, num_threads=1)
    asked = model.asked("natural_language_rules")
    assert [examples_in(one) for one in asked] == [20, 19, 18, 17]
    assert "n=17" not in asked[-1]
    assert [one for one in program.candidate_programs if "sample" in one]
    assert program.evidence.usage["prompt"]["calls"] == 1


@pytest.mark.parametrize(
    ("most", "error"), [(0, dspex.ContextWindowExceeded), (17, dspex.BadRequest)], ids=["nothing fits", "refused"]
)
def test_without_rules_the_bootstrapped_program_stays_in_the_race(writer, data, student, right, most, error):
    model = writer()
    lm = dspex.LM("short", provider=Shortsighted(model, most, error), cache=False, num_retries=0)
    with dspex.context(lm=lm):
        program = infer(right).compile(student, trainset=data.trainset[:10], valset=data.valset, holdout=0)
    assert program.evidence.stopped == "done"
    if most == 0:
        assert {one["label"] for one in program.candidate_programs} == {"student", "bootstrap"}
        assert len(model.asked("natural_language_rules")) == 3 * 10


def test_a_predictor_in_the_middle_sees_runs_for_what_no_label_says(writer, data, two, right):
    model = writer(natural_language_rules="A rule.")
    program = infer(lambda *_: True).compile(two, trainset=data.trainset[:12], holdout=0)
    asked = model.asked("natural_language_rules")
    of_hint = [one for one in asked if "answer: " not in one.rsplit("[[ ## examples_text ## ]]", 1)[1]]
    assert {examples_in(one) for one in of_hint} == {2}
    assert all("hint: word" in one for one in of_hint)
    assert len(of_hint) == 3
    assert {examples_in(one) for one in asked if one not in of_hint} == {6}
    for one in program.candidate_programs:
        if "sample" in one:
            assert one["program"].hint.signature.instructions.endswith("A rule.")
            assert one["program"].solve.signature.instructions.endswith("A rule.")


def test_the_teachers_model_reads_the_rules(writer, data, student, right):
    model = writer()
    teacher = type(model)()
    settings = {"lm": dspex.LM("teacher", provider=teacher, cache=False)}
    infer(right, teacher_settings=settings).compile(student, trainset=data.trainset, holdout=0)
    assert not model.asked("natural_language_rules")
    asked = [one for one in teacher.requests if "examples_text" in one.messages[0].text]
    assert len(asked) == 3
    assert {dict(one.params)["temperature"] for one in asked} == {1.0}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"num_candidates": 0}, "num_candidates=0"),
        ({"num_rules": 0}, "num_rules=0"),
        ({"max_labeled_demos": -1}, "max_labeled_demos=-1"),
        ({"race_z": "often"}, "race_z='often': a number"),
        ({"metric": None}, "needs a metric"),
        ({"count": 1}, "from two examples on; there are 1"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(writer, data, student, right, wrong, says):
    model = writer()
    trainset = data.trainset[: wrong.pop("count", 10)]
    with pytest.raises(dspex.ConfigurationError, match=says):
        infer(**{"metric": right, **wrong}).compile(student, trainset=trainset)
    assert not model.requests
