"""COPRO: which instructions are tried and where, what proposals see, what it costs."""

import pytest

import dspex
from dspex.testing import DummyLM


def compiled(optimizer, student, data, **options):
    return optimizer.compile(student, trainset=data.trainset[:12], **options)


def instructions(program):
    return {path: part.signature.instructions for path, part in program.named_predictors()}


@pytest.mark.parametrize(("n", "requests"), [(True, 3), (False, 8)])
def test_each_round_tries_as_many_instructions_on_all_examples(writer, data, student, right, n, requests):
    model = writer(n=n)
    program = compiled(dspex.COPRO(metric=right, breadth=3, depth=3), student, data)
    assert len(model.asked("answer")) == 3 * 3 * 12
    assert len(model.asked("proposed_instruction")) == requests
    assert program.total_calls == 9
    assert {one["depth"] for one in program.candidate_programs} == {0, 1, 2}
    assert all(one["score"] is not None for one in program.candidate_programs)
    assert student.signature.instructions in [one["instruction"] for one in program.candidate_programs]


def test_of_several_predictors_all_instructions_so_far_are_tried_again(writer, data, two, right):
    model = writer()
    search = dspex.COPRO(metric=right, breadth=3, depth=2)
    program = compiled(search, two, data)
    shape = dspex.Shape(predictors=2, calls_per_run=2, train=12, val=12)
    assert program.total_calls == 3 * 2 * (1 + 2)
    # An instruction that is tried again beside the same others costs nothing, which no bound can know before.
    assert program.ledger.calls == program.ledger.paid == len(model.requests) <= 18 * 12 * 2 + 2 * (2 * 3 - 1)
    assert program.ledger.calls <= search.estimate(shape).high <= 2.2 * program.ledger.calls


def test_later_predictors_see_the_best_of_the_earlier_ones(writer, data, two, right):
    writer()
    program = compiled(dspex.COPRO(metric=right, breadth=4, depth=1), two, data)
    first, second = (
        [one for one in program.candidate_programs if one["predictor"] == path] for path in ("hint", "solve")
    )
    ranked = sorted(first, key=lambda one: -one["score"])
    best = {one["instruction"] for one in ranked if one["score"] == ranked[0]["score"]}
    assert {instructions(one["program"])["hint"] for one in second} <= best
    assert len({instructions(one["program"])["solve"] for one in second}) >= 3


def test_new_proposals_see_the_best_instructions_with_their_scores_the_worst_first(writer, data, student, right):
    model = writer()
    program = compiled(dspex.COPRO(metric=right, breadth=4, depth=2), student, data)
    scores = {one["instruction"]: one["score"] for one in program.candidate_programs if one["depth"] == 0}
    question = model.asked("proposed_instruction")[-1]
    places = {question.index(f"{score:.2f}: {text}"): score for text, score in scores.items()}
    assert [places[place] for place in sorted(places)] == sorted(scores.values())


def test_the_best_program_is_returned_and_the_student_is_as_it_was(writer, data, student, right):
    writer()
    before = student.dump_state()
    program = compiled(dspex.COPRO(metric=right, breadth=4, depth=2), student, data)
    top = program.candidate_programs[0]
    assert student.dump_state() == before
    assert program.evidence.kept is (instructions(program) != instructions(student))
    assert program.evidence.score == pytest.approx(top["score"] / 100, abs=1e-4)


@pytest.mark.parametrize("n", [True, False])
def test_a_proposal_that_cannot_be_read_takes_no_other_with_it(writer, data, student, right, n):
    model = writer(n=n, proposed_instruction=lambda word: None if word < "6" else f"Double it, {word}.")
    program = compiled(dspex.COPRO(metric=right, breadth=8, depth=1), student, data)
    assert program.evidence.stopped == "done"
    assert 5 <= program.total_calls < 8
    assert len(model.asked("proposed_instruction")) > 7


def test_without_any_proposal_the_student_is_scored_and_comes_back(writer, data, student, right):
    writer(proposed_instruction="")
    program = compiled(dspex.COPRO(metric=right, breadth=3, depth=3), student, data)
    assert instructions(program) == instructions(student)
    assert program.total_calls == 1


def test_a_proposal_with_nothing_in_it_is_the_instruction_of_a_signature_that_has_none(writer, data, right):
    writer(proposed_instruction="")
    student = dspex.Predict(dspex.Signature("question -> answer", "Double the number."))
    program = compiled(dspex.COPRO(metric=right, breadth=3, depth=3), student, data)
    tried = {one["instruction"] for one in program.candidate_programs}
    assert tried == {"Double the number.", dspex.Signature("question -> answer").instructions}


def test_another_model_proposes(writer, data, student, right):
    model = writer()
    other = type(model)(proposed_instruction="Double the number.")
    prompt_model = dspex.LM("other", provider=other, cache=False)
    compiled(dspex.COPRO(prompt_model, right, breadth=2, depth=1), student, data)
    assert not model.asked("proposed_instruction")
    assert len(other.requests) == 1
    assert dict(other.requests[0].params)["temperature"] == 1.4
    assert any("Double the number." in text for text in model.asked("answer"))


@pytest.mark.parametrize("more", [{}, {"proposed_prefix_for_output_field": "Twice:"}])
def test_a_scripted_model_of_dspys_is_understood(data, more):
    answers = [{"proposed_instruction": "Double it.", **more}, *[{"answer": "0"}] * 4]
    dspex.configure(lm=DummyLM(answers))
    search = dspex.COPRO(metric=lambda example, made, trace=None: example.answer == made.answer, breadth=2, depth=1)
    options = {"eval_kwargs": {"num_threads": 1, "display_progress": False}}
    program = search.compile(dspex.Predict("question -> answer"), trainset=data.trainset[:2], **options)
    assert "Double it." in [one["instruction"] for one in program.candidate_programs]


def test_scores_of_each_round_are_kept_where_asked_for(writer, data, two, right):
    writer()
    search = dspex.COPRO(metric=right, breadth=3, depth=2)
    assert not hasattr(compiled(search, two, data), "results_best")
    search.track_stats = True
    program = compiled(search, two, data)
    assert set(program.results_best) == set(program.results_latest) == {"hint", "solve"}
    for table in program.results_best.values():
        assert table["depth"] == [0, 1]
        assert table["max"] == sorted(table["max"])
        rows = zip(table["min"], table["average"], table["max"], strict=True)
        assert all(low - 1e-9 <= mean <= high + 1e-9 for low, mean, high in rows)


def test_a_race_saves_calls(writer, data, student, right):
    model = writer()
    search = dspex.COPRO(metric=right, breadth=8, depth=1, race=True)
    search.compile(student, trainset=data.examples(0, 64))
    assert len(model.asked("answer")) < 8 * 64


def test_keywords_of_an_evaluation_are_followed_or_refused(writer, data, student):
    model = writer()

    def failing(example, made, trace=None):
        raise KeyError("label") if int(example.question[2:]) % 4 else None

    search = dspex.COPRO(metric=failing, breadth=2, depth=1)
    with pytest.raises(dspex.ConfigurationError, match="devset"):
        compiled(search, student, data, eval_kwargs={"devset": []})
    with pytest.raises(dspex.ConfigurationError, match="eval_kwargs=3: keywords"):
        compiled(search, student, data, eval_kwargs=3)
    assert not model.requests
    with pytest.raises(dspex.EvaluationError, match="max_errors"):
        compiled(search, student, data, eval_kwargs={"max_errors": 2})
    program = search.compile(student, trainset=data.trainset[4:], eval_kwargs={"failure_score": 0.5}, holdout=0)
    assert program.candidate_programs[0]["score"] >= 37.5
    assert search.failure_score == 0.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"breadth": 1}, "breadth=1: a whole number from 2 on"),
        ({"depth": 0}, "depth=0"),
        ({"init_temperature": -1}, "init_temperature=-1"),
        ({"prompt_model": "openai/gpt"}, "dspex.LM"),
        ({"metric": None}, "needs a metric"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(writer, data, student, right, wrong, says):
    model = writer()
    with pytest.raises(dspex.ConfigurationError, match=says):
        compiled(dspex.COPRO(**{"metric": right, **wrong}), student, data)
    assert not model.requests


def test_a_teacher_has_no_part_in_it_and_is_refused(writer, data, student, right):
    writer()
    with pytest.raises(dspex.ConfigurationError, match="prompt_model="):
        compiled(dspex.COPRO(metric=right), student, data, teacher=student)
