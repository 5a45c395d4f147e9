"""Traces of runs that somebody has paid for, as each optimizer that asks a teacher uses them."""

import json

import pytest

import dspex


@pytest.fixture
def traces(tmp_path):
    path = tmp_path / "traces.jsonl"
    rows = [{"inputs": {"question": f"n={n}"}, "outputs": {"answer": str(2 * n)}, "score": 1} for n in range(700, 706)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def numbers(demos):
    return [int(demo["question"][2:]) for demo in demos]


def test_a_bootstrap_makes_its_demonstrations_without_a_call(model, data, student, right, traces):
    few = dspex.BootstrapFewShot(right, max_bootstrapped_demos=4, max_labeled_demos=6)
    program = few.compile(student, trainset=data.trainset, warm_start=traces)
    assert model.prompts == []
    assert min(numbers(program.demos[:4])) >= 700
    assert max(numbers(program.demos[4:])) < 40
    assert [bool(demo.get("augmented")) for demo in program.demos] == [True] * 4 + [False] * 2


def test_a_bootstrap_that_wants_more_asks_for_the_rest(model, data, student, right, traces):
    program = dspex.BootstrapFewShot(right, max_bootstrapped_demos=8, max_labeled_demos=0).compile(
        student, trainset=data.trainset, warm_start=traces
    )
    assert sorted(numbers(program.demos))[2:] == list(range(700, 706))
    assert 0 < len(model.prompts) < 40


def test_a_random_search_scores_sets_of_them(model, data, student, right, traces):
    search = dspex.BootstrapRS(right, num_candidate_programs=3, max_labeled_demos=0, race_z=None)
    program = search.compile(student, trainset=data.trainset, valset=data.valset, warm_start=traces)
    assert len(model.prompts) <= 6 * 20
    sets = {tuple(numbers(one["program"].demos)) for one in program.candidate_programs}
    assert len(sets) > 2


@pytest.mark.parametrize("form", ["program", "file", "run"])
def test_a_program_of_nearest_demonstrations_enters_the_next_search(model, data, student, right, tmp_path, form):
    known = dspex.KNNFewShot(3, data.trainset, max_bootstrapped_demos=0).compile(student, run_dir=tmp_path / "run")
    known.save(tmp_path / "before.json")
    given = {"program": known, "file": tmp_path / "before.json", "run": tmp_path / "run"}[form]
    more = {"keep": "best", "holdout": 0, "warm_start": given}
    program = dspex.optimize(student, data.examples(200, 30), right, 50, valset=data.valset, **more)
    assert program.dump_state() == known.dump_state()
    program(question="n=133")
    assert model.prompts[-1].count("[[ ## question ## ]]\nn=") == 3 + 1


def test_the_nearest_of_them_are_shown(model, data, student, right, traces):
    program = dspex.KNNFewShot(2, data.trainset[:8], metric=right).compile(student, warm_start=traces)
    assert set(range(700, 706)) <= set(numbers(program.demos))
    assert len(model.prompts) < 8
