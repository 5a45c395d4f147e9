"""Random search: its candidates, its options, its price."""

import pytest

import dspex


def searched(data, student, search, **options):
    return search.compile(student, trainset=data.trainset, valset=data.valset, **options)


def test_the_candidates_are_those_of_the_seeds(model, data, student, right):
    search = dspex.BootstrapFewShotWithRandomSearch(right, num_candidate_programs=5, race_z=None)
    pool = searched(data, student, search).candidate_programs
    found = {one["seed"]: one["program"] for one in pool}
    assert sorted(found) == [-3, -2, -1, 0, 1, 2, 3, 4]
    assert found[-3].demos == []
    assert not [demo for demo in found[-2].demos if demo.get("augmented")]
    made = {seed: sum(demo.get("augmented", False) for demo in found[seed].demos) for seed in range(-1, 5)}
    assert made[-1] == 4
    assert all(1 <= count <= 4 for count in made.values())
    assert all(one["score"] is not None and len(one["subscores"]) == 20 for one in pool)
    assert [one["score"] for one in pool] == sorted((one["score"] for one in pool), reverse=True)


def test_sets_of_labelled_demos_alone_can_be_searched(model, data, student, right):
    search = dspex.BootstrapFewShotWithRandomSearch(
        right, max_bootstrapped_demos=0, max_labeled_demos=8, num_candidate_programs=6, race_z=None
    )
    program = searched(data, student, search, restrict=range(6))
    sets = [tuple(sorted(demo["question"] for demo in one["program"].demos)) for one in program.candidate_programs]
    assert len(set(sets)) == 6
    assert {len(one) for one in sets} == {8}
    assert len(model.prompts) == 6 * 20


def test_equal_runs_of_the_teacher_are_made_once(model, data, student, right):
    search = dspex.BootstrapFewShotWithRandomSearch(right, max_labeled_demos=0, num_candidate_programs=8, race_z=None)
    program = searched(data, student, search)
    bare = [text for text in model.prompts if text.count("n=") == 1 and "n=1" not in text[-30:]]
    assert len(bare) == len(set(bare))
    assert program.ledger.calls > program.ledger.paid == len(model.prompts)


def test_a_race_saves_calls(model, data, student, right):
    many = {"trainset": data.trainset, "valset": data.examples(100, 40)}
    kinds = [dspex.BootstrapRS(right, max_labeled_demos=0, num_candidate_programs=4, race_z=z) for z in (None, 1.64)]
    full, raced = (kind.compile(student, **many) for kind in kinds)
    assert raced.ledger.calls < full.ledger.calls
    assert raced.evidence.score >= full.evidence.score - 0.05


def test_the_search_ends_at_a_score_that_is_good_enough(model, data, student, right):
    search = dspex.BootstrapFewShotWithRandomSearch(right, num_candidate_programs=6, stop_at_score=60)
    pool = searched(data, student, search).candidate_programs
    assert pool[0]["score"] >= 60
    assert all(one["score"] is not None for one in pool)
    # Those after it are not made either, and no teacher is asked for them.
    seeds = sorted(one["seed"] for one in pool)
    assert seeds == [*range(-3, pool[0]["seed"] + 1)] != [*range(-3, 6)]


@pytest.mark.parametrize("options", [{}, {"num_threads": 1}, {"num_threads": 64}])
def test_the_number_of_threads_changes_nothing(model, data, student, right, options):
    program = searched(data, student, dspex.BootstrapRS(right, num_candidate_programs=3, **options))
    other = searched(data, student, dspex.BootstrapRS(right, num_candidate_programs=3, num_threads=7))
    assert program.dump_state() == other.dump_state()


def test_the_estimate_is_never_below_what_is_paid(model, data, student, right):
    search = dspex.BootstrapRS(right, num_candidate_programs=4)
    shape = dspex.Shape(predictors=1, calls_per_run=1, train=40, val=20)
    program = searched(data, student, search)
    assert program.ledger.calls <= search.estimate(shape).high
    with pytest.raises(dspex.BudgetExceeded, match="may take"):
        searched(data, student, search, budget=dspex.Budget(calls=100))


def test_a_search_within_a_budget_ends_at_the_wall_with_the_best_so_far(model, data, student, right):
    search = dspex.BootstrapRS(right, num_candidate_programs=4, race_z=None)
    program = searched(data, student, search, budget=dspex.Budget(calls=100, on_short="stop"))
    assert len(model.prompts) <= 100
    assert program.evidence.stopped == "budget"


@pytest.mark.parametrize("wrong", [{"stop_at_score": "all"}, {"race_z": "often"}, {"race_z": -1}], ids=str)
def test_numbers_that_are_none_are_refused(right, wrong):
    with pytest.raises(dspex.ConfigurationError, match="a number from 0 on"):
        dspex.BootstrapRS(right, **wrong)


def test_a_search_needs_a_metric_and_a_seed(model, data, student, right):
    with pytest.raises(dspex.ConfigurationError, match="metric"):
        dspex.BootstrapRS(None)
    with pytest.raises(dspex.ConfigurationError, match="leaves no seed of -3 to 15"):
        searched(data, student, dspex.BootstrapRS(right), restrict=[99])
    with pytest.raises(dspex.ConfigurationError, match="restrict=3: a list of seeds"):
        searched(data, student, dspex.BootstrapRS(right), restrict=3)


@pytest.mark.parametrize(("calls", "shuffled"), [(150, 0), (250, 2), (1_000, 4)])
def test_a_search_is_made_to_fit_a_budget(model, data, student, right, calls, shuffled):
    search = dspex.BootstrapRS(right, num_candidate_programs=4, race_z=None)
    program = searched(data, student, search, budget=dspex.Budget(calls=calls, on_short="fit"))
    assert len(program.candidate_programs) == 3 + shuffled
    assert program.evidence.stopped == "done"
    assert len(model.prompts) <= calls


def test_a_budget_that_covers_the_seeds_that_are_asked_for_is_enough(model, data, student, right):
    search = dspex.BootstrapRS(right, race_z=None)
    program = searched(data, student, search, restrict=[-3, -2], budget=dspex.Budget(calls=40))
    assert len(program.candidate_programs) == 2
    for on_short in ("refuse", "fit"):
        with pytest.raises(dspex.BudgetExceeded, match="at most 40 calls"):
            searched(data, student, search, restrict=[-3, -2], budget=dspex.Budget(calls=39, on_short=on_short))
