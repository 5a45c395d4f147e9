"""Proposals: what they rest on, and what becomes of those that fail."""

import pytest

import dspex

GIVEN = ("data", "program", "purpose", "step", "runs", "current", "tip")


def compiled(data, student, optimizer, **options):
    options = {"valset": data.valset, "num_trials": 4, "minibatch": False, **options}
    return optimizer.compile(student, trainset=data.trainset, **options)


def search(right, count=4, **options):
    return dspex.MIPROv2(right, auto=None, num_candidates=count, **options)


def given(text):
    """The fields that a proposal was asked for with."""
    return [name for name in GIVEN if f"[[ ## {name} ## ]]" in text]


def instructions(program):
    """Those of all candidates that were tried."""
    return {one["program"].signature.instructions for one in program.candidate_programs}


def test_a_proposal_rests_on_data_program_and_runs(model, data, student, right):
    compiled(data, student, search(right))
    texts = model.texts("instruction")
    assert len(texts) == 3
    for text in texts:
        assert given(text) in (list(GIVEN), list(GIVEN[:-1]))
        assert "summary" in text
        assert "question: str -> answer: str" in text
        assert student.signature.instructions in text
        assert text.count("question: n=") == 3
    outline = model.texts("description")[0]
    assert "self: Predict" in outline
    assert "question: n=0" in outline


def test_each_proposal_is_drawn_anew_at_its_own_temperature(model, data, student, right):
    bare = {"tip_aware_proposer": False, "fewshot_aware_proposer": False}
    compiled(data, student, search(right, init_temperature=0.7), **bare)
    asked = model.asked["instruction"]
    assert len(set(model.texts("instruction"))) == 1
    assert [request.params["temperature"] for request in asked] == [0.7] * 3
    assert {request.params["temperature"] for request in model.asked["notes"]} == {1.0}


@pytest.mark.parametrize(
    ("option", "absent", "unasked"),
    [
        ("data_aware_proposer", ["data"], ["notes", "summary"]),
        ("program_aware_proposer", ["program", "purpose"], ["description", "purpose"]),
        ("tip_aware_proposer", ["tip"], []),
        ("fewshot_aware_proposer", ["runs"], []),
    ],
)
def test_each_of_its_grounds_can_be_left_out(model, data, student, right, option, absent, unasked):
    compiled(data, student, search(right, 7), **{option: False})
    shown = {name for text in model.texts("instruction") for name in given(text)}
    assert shown == set(GIVEN) - set(absent)
    assert not [name for name in unasked if name in model.asked]


def test_without_demonstrations_and_their_use_no_teacher_runs(model, data, student, right):
    only = search(right, max_bootstrapped_demos=0, max_labeled_demos=0)
    program = compiled(data, student, only, fewshot_aware_proposer=False)
    assert "teacher" not in program.evidence.usage
    assert (
        only.quote(
            student,
            trainset=data.trainset,
            valset=data.valset,
            num_trials=4,
            minibatch=False,
            fewshot_aware_proposer=False,
        ).by_role["teacher"]
        == 0
    )


def test_with_one_candidate_nothing_is_asked(model, data, student, right):
    program = compiled(data, student, search(right, 1))
    assert set(model.asked) == {"answer"}
    assert program.signature.instructions == student.signature.instructions


def test_samples_of_the_data_are_looked_at_one_after_another(model, data, student, right):
    compiled(data, student, search(right))
    texts = model.texts("notes")
    assert [text.count("question: n=") for text in texts] == [10] * 4
    assert ["[[ ## known ## ]]" in text for text in texts] == [False, True, True, True]
    assert texts[3].count("with care") == 3
    assert model.texts("summary")[0].count("with care") == 4


def test_or_side_by_side_if_asked(model, data, student, right):
    compiled(data, student, search(right, summary="parallel"), view_data_batch_size=5)
    texts = model.texts("notes")
    assert [text.count("question: n=") for text in texts] == [5] * 8
    assert not [text for text in texts if "[[ ## known ## ]]" in text]
    assert model.texts("summary")[0].count("with care") == 8


def test_no_more_than_ten_samples_are_looked_at(model, data, student, right):
    compiled(data, student, search(right), view_data_batch_size=2)
    assert len(model.asked["notes"]) == 10


def test_after_five_samples_that_show_nothing_new_the_rest_is_left(model, data, student, right):
    model.says["notes"] = "COMPLETE."
    compiled(data, student, search(right), view_data_batch_size=4)
    assert len(model.asked["notes"]) == 5
    assert "summary" not in model.asked
    assert "data" not in given(model.texts("instruction")[0])


@pytest.mark.parametrize(
    ("broken", "absent"),
    [
        ("notes", ["data"]),
        ("summary", []),
        ("description", []),
        ("purpose", ["purpose"]),
    ],
)
def test_grounds_that_cannot_be_found_out_are_missing_and_no_end(model, data, student, right, broken, absent):
    model.broken.add(broken)
    program = compiled(data, student, search(right, 7))
    shown = {name for text in model.texts("instruction") for name in given(text)}
    assert shown == set(GIVEN) - set(absent)
    assert program.evidence.stopped == "done"
    assert "with care" in model.texts("instruction")[0] or broken in ("notes", "description")


def test_a_proposal_that_fails_leaves_the_others_and_stands_for_no_choice(model, data, student, right):
    model.broken.add("instruction")
    program = compiled(data, student, search(right, 6), num_trials=12)
    assert instructions(program) == {student.signature.instructions}
    assert {point["self/instruction"] for point in points(program)} == {0}
    assert program.evidence.stopped == "done"
    assert len({point["self/demos"] for point in points(program)}) > 1


def test_equal_proposals_are_one_choice(model, data, student, right):
    model.says["instruction"] = '"Double the number, with care."'
    program = compiled(data, student, search(right, 6), num_trials=12)
    assert instructions(program) == {student.signature.instructions, "Double the number, with care."}
    assert {point["self/instruction"] for point in points(program)} == {0, 1}


def test_where_there_is_nothing_to_choose_the_student_alone_is_run(model, data, student, right):
    model.broken.add("instruction")
    program = compiled(data, student, search(right, max_bootstrapped_demos=0, max_labeled_demos=0))
    assert program.evidence.usage["task"]["calls"] == 20
    assert program.dump_state() == student.dump_state()


def points(program):
    """The choices of all trials."""
    return [log["point"] for log in program.trial_logs.values()]
