"""MIPROv2: what it chooses from, its arguments, its models."""

import pytest

import dspex


def compiled(data, student, optimizer, **options):
    return optimizer.compile(student, trainset=data.trainset, valset=data.valset, **options)


def points(program):
    """The choices of all trials."""
    return [log["point"] for log in program.trial_logs.values()]


def test_instructions_and_demonstrations_are_chosen_together(model, data, student, right):
    program = compiled(data, student, dspex.MIPROv2(right, auto="medium"))
    assert "with care" in program.signature.instructions
    assert program.demos
    assert not student.demos
    pool = [one["program"] for one in program.candidate_programs if one["label"].startswith("trial")]
    assert len({one.signature.instructions for one in pool}) > 3
    assert len({len(one.demos) for one in pool}) > 1
    best = program.candidate_programs[0]
    assert (best["score"], best["program"].dump_state()) == (program.score, program.dump_state())


def test_the_sets_are_none_labelled_and_bootstrapped_ones(model, data, student, right):
    search = dspex.MIPROv2(right, auto=None, num_candidates=6, max_bootstrapped_demos=3, max_labeled_demos=5)
    program = compiled(data, student, search, num_trials=1, minibatch=False)
    made = {one["label"]: one["program"].demos for one in program.candidate_programs}
    assert {len(made["labelled/labelled"])} == {5}
    bootstrapped = {label: demos for label, demos in made.items() if label.startswith("bootstrap")}
    assert len(bootstrapped) == 4
    counts = {label: sum(demo.get("augmented", False) for demo in demos) for label, demos in bootstrapped.items()}
    assert counts["bootstrap/2/bootstrap"] == 3
    assert all(1 <= count <= 3 for count in counts.values())
    assert {len(demos) for demos in bootstrapped.values()} == {5}


def test_without_labels_another_set_is_bootstrapped(model, data, student, right):
    search = dspex.MIPROv2(right, auto=None, num_candidates=4, max_labeled_demos=0)
    program = compiled(data, student, search, num_trials=1, minibatch=False)
    labels = [one["label"] for one in program.candidate_programs]
    assert sum(label.startswith("bootstrap") for label in labels) == 3
    assert not [label for label in labels if label.startswith("labelled")]


def test_labelled_sets_alone_can_be_searched(model, data, student, right):
    search = dspex.MIPROv2(right, auto=None, num_candidates=5, max_bootstrapped_demos=0, max_labeled_demos=3)
    program = compiled(data, student, search, num_trials=6, minibatch=False)
    sets = {tuple(sorted(demo["question"] for demo in one["program"].demos)) for one in program.candidate_programs}
    assert {len(one) for one in sets} == {0, 3}
    assert len(sets) > 3
    assert "teacher" not in program.evidence.usage


def test_with_no_demonstrations_allowed_only_instructions_change(model, data, student, right):
    search = dspex.MIPROv2(right, max_bootstrapped_demos=0, max_labeled_demos=0)
    program = compiled(data, student, search)
    assert "with care" in program.signature.instructions
    assert not program.demos
    assert {tuple(point) for point in points(program)} == {("self/instruction",)}
    assert len(model.asked["instruction"]) == 5
    assert "runs" in model.texts("instruction")[0]


def test_the_limits_of_compile_take_the_place_of_the_constructors(model, data, student, right):
    search = dspex.MIPROv2(right)
    program = compiled(data, student, search, max_bootstrapped_demos=0, max_labeled_demos=0)
    assert not program.demos
    assert search.max_bootstrapped_demos == 4


def test_a_student_with_demonstrations_keeps_them_as_one_choice(model, data, student, right):
    student.demos = [dspex.Example(question="n=7", answer="14")]
    program = compiled(data, student, dspex.MIPROv2(right, auto=None, num_candidates=3), num_trials=2, minibatch=False)
    first = next(one for one in program.candidate_programs if one["label"] == "student")
    assert first["program"].dump_state() == student.dump_state()
    assert program.trial_logs[1]["full_eval_score"] == first["score"]


def test_of_a_student_that_chooses_its_demonstrations_those_of_other_sets_are_all_shown(model, data, student, right):
    student.demos, student.demo_selector = data.trainset[:6], dspex.NearestDemos(2)
    options = {"trainset": data.trainset, "valset": data.valset, "keep": "best", "holdout": 0}
    program = dspex.MIPROv2(right, max_labeled_demos=5).compile(student, **options)
    tried = [one["program"] for one in program.candidate_programs]
    assert {(one.demo_selector is None) == (len(one.demos) < 6) for one in tried} == {True}
    assert {one.demo_selector is None for one in tried} == {True, False}


def test_each_predictor_of_a_program_has_its_own_choices(model, data, two_steps, right):
    program = compiled(data, two_steps, dspex.MIPROv2(right))
    names = ["hint/instruction", "answer/instruction", "hint/demos", "answer/demos"]
    assert list(points(program)[0]) == names
    assert len(model.asked["instruction"]) == 2 * 2
    assert len(model.asked["purpose"]) == 2
    assert len({tuple(point.values()) for point in points(program)}) > 10


def test_a_teacher_makes_the_demonstrations(model, data, student, right):
    teacher = dspex.Predict(student.signature.with_instructions("Double it, with care."))
    teacher.demos = [dspex.Example(question="n=1000", answer="2000")]
    search = dspex.MIPROv2(right, auto=None, num_candidates=3, max_labeled_demos=0)
    compiled(data, student, search, teacher=teacher, num_trials=1, minibatch=False)
    taught = [request for request in model.asked["answer"] if "Double it" in request.messages[0].text]
    assert taught
    with pytest.raises(dspex.ConfigurationError, match="has not the student's predictors: self"):
        compiled(data, student, search, teacher=dspex.Predict("question -> reply"), num_trials=1, minibatch=False)


def test_each_role_has_its_own_model(data, student, right, model):
    models = {name: type(model)() for name in ("prompt", "task", "teacher")}
    lms = {name: dspex.LM(name, provider=one, cache=False) for name, one in models.items()}
    settings = {"lm": lms["teacher"]}
    search = dspex.MIPROv2(right, prompt_model=lms["prompt"], task_model=lms["task"], teacher_settings=settings)
    compiled(data, student, search)
    assert not model.calls
    assert set(models["prompt"].asked) == {"notes", "summary", "description", "purpose", "instruction"}
    assert set(models["task"].asked) == set(models["teacher"].asked) == {"answer"}
    untaught = dspex.MIPROv2(right, prompt_model=lms["prompt"], task_model=lms["task"])
    taught = len(models["teacher"].asked["answer"])
    compiled(data, student, untaught)
    assert not model.calls
    assert len(models["teacher"].asked["answer"]) == taught


def test_without_a_valset_the_last_four_fifths_of_the_trainset_are_it(model, data, student, right):
    search = dspex.MIPROv2(right, max_bootstrapped_demos=0, max_labeled_demos=0)
    program = search.compile(student, trainset=data.trainset)
    assert [len(one["subscores"]) for one in program.candidate_programs] == [32] * len(program.candidate_programs)
    shown = "\n".join(model.texts("notes"))
    assert [f"n={number}\n" in shown for number in (0, 7, 8)] == [True, True, False]
    with pytest.raises(dspex.ConfigurationError, match="one example"):
        search.compile(student, trainset=data.trainset[:1])


def test_a_mode_takes_no_more_validation_examples_than_it_is_made_for(model, data, student, right):
    search = dspex.MIPROv2(right, max_bootstrapped_demos=0, max_labeled_demos=0)
    quotes = [search.quote(student, trainset=data.trainset, valset=data.examples(100, count)) for count in (125, 900)]
    assert quotes[0].by_role["task"] == quotes[1].by_role["task"] == 100 + 9 * 35 + 2 * (100 - 35)
    assert [quote.by_role["evidence"] for quote in quotes] == [2 * 25, 2 * 180]


@pytest.mark.parametrize(
    ("made", "given", "says"),
    [
        ({"auto": "heaviest"}, {}, "'light', 'medium', 'heavy'"),
        ({"num_candidates": 7}, {}, "auto=None"),
        ({}, {"num_trials": 7}, "auto=None"),
        ({"auto": None}, {"num_trials": 7}, "num_candidates=6"),
        ({"auto": None, "num_candidates": 7}, {}, r"compile\(num_trials=11\)"),
        ({"auto": None, "num_candidates": 7}, {"num_trials": 7}, "minibatch_size=35: there are 20"),
        ({}, {"view_data_batch_size": 0}, "view_data_batch_size=0"),
        ({}, {"minibatch_full_eval_steps": 0}, "minibatch_full_eval_steps=0"),
        ({}, {"max_labeled_demos": -1}, "max_labeled_demos=-1"),
        ({}, {"requires_permission_to_run": True}, "requires_permission_to_run"),
        ({}, {"provide_traceback": True}, "provide_traceback"),
        ({}, {"minibach": True}, "minibatch"),
        ({"metric": None}, {}, "metric"),
        ({"summary": "none"}, {}, "chain"),
        ({"init_temperature": -1}, {}, "init_temperature"),
        ({"race": "yes"}, {}, "race='yes'"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_before_anything_is_paid(
    model, data, student, right, made, given, says
):
    with pytest.raises(dspex.ConfigurationError, match=says):
        compiled(data, student, dspex.MIPROv2(**{"metric": right, **made}), **given)
    assert not model.calls


def test_a_minibatch_that_is_larger_than_the_valset_is_no_fault_of_a_mode_without_minibatches(
    model, data, student, right
):
    compiled(data, student, dspex.MIPROv2(right), minibatch_size=35)
    with pytest.raises(dspex.ConfigurationError, match="minibatch_size=90: there are 60"):
        dspex.MIPROv2(right).compile(
            student, trainset=data.trainset, valset=data.examples(100, 60), holdout=0, minibatch_size=90
        )


def test_the_seed_of_compile_stands_above_the_constructors(model, data, student, right):
    search, other = dspex.MIPROv2(right), dspex.MIPROv2(right, seed=4)
    found = [compiled(data, student, search), compiled(data, student, other)]
    found += [compiled(data, student, search, seed=4), compiled(data, student, search, seed=9)]
    assert points(found[0]) == points(found[3]) != points(found[1])
    assert points(found[2]) == points(found[1])


def test_the_logs_are_written_where_the_constructor_says_and_on_request_aloud(
    model, data, student, right, tmp_path, capsys
):
    search = dspex.MIPROv2(right, auto=None, num_candidates=3, log_dir=str(tmp_path / "log"), verbose=True)
    program = compiled(data, student, search, num_trials=3, minibatch=False)
    assert (tmp_path / "log" / "report.html").exists()
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["trial 1", "trial 2", "trial 3", "trial 4"]
    assert list(program.trial_logs) == [1, 2, 3, 4]
    assert program.trial_logs[4]["total_eval_calls_so_far"] == 4 * 20
    assert program.score == max(log["full_eval_score"] for log in program.trial_logs.values())
    bare = dspex.MIPROv2(right, auto=None, num_candidates=3, track_stats=False)
    assert not hasattr(compiled(data, student, bare, num_trials=3, minibatch=False), "trial_logs")
