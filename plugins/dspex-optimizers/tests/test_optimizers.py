"""Each optimizer does what DSPy's users rely on."""

import pytest

import dspex
from dspex.plugin import Capabilities, LMResponse, Usage
from dspex.testing import reset

TRAIN = [dspex.Example(n=n, twice=2 * n).with_inputs("n") for n in range(12)]


class Model:
    """Right for numbers below `limit`; what it was asked for stays in `asked`."""

    capabilities = Capabilities(chat=True)

    def __init__(self, limit=1000):
        self.limit = limit
        self.asked = []

    async def complete(self, request):
        number = int(request.messages[-1].text.split("[[ ## n ## ]]")[1].split()[0])
        self.asked.append(number)
        answer = 2 * number if number < self.limit else -1
        return LMResponse.from_text(f"[[ ## twice ## ]]\n{answer}", Usage(10, 5))


@pytest.fixture
def use(tmp_path, monkeypatch):
    """Make a model the current one."""
    monkeypatch.setenv("DSPEX_RUNS_DIR", str(tmp_path / "runs"))

    def enter(model):
        dspex.configure(lm=dspex.LM("mock/model", provider=model, cache=False, num_retries=0))
        return model

    yield enter
    reset()


def is_right(example, prediction, trace=None):
    return prediction.twice == example.twice


def student():
    return dspex.Predict("n: int -> twice: int")


def numbers(program):
    return [demo["n"] for demo in program.demos]


def test_labelled_demos_are_the_first_ones_where_nothing_is_drawn(use):
    use(Model())
    assert numbers(dspex.LabeledFewShot(k=3).compile(student(), trainset=TRAIN, sample=False)) == [0, 1, 2]


def test_equal_seeds_draw_equal_demos_and_others_draw_others(use):
    use(Model())
    drawn = [numbers(dspex.LabeledFewShot(k=5).compile(student(), trainset=TRAIN, seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_more_demos_than_examples_is_all_of_them(use):
    use(Model())
    assert sorted(numbers(dspex.LabeledFewShot(k=99).compile(student(), trainset=TRAIN))) == list(range(12))


def test_bootstrapped_demos_come_first_in_the_order_of_the_trainset(use):
    use(Model(limit=100))
    made = dspex.BootstrapFewShot(is_right, max_bootstrapped_demos=2, max_labeled_demos=4).compile(
        student(), trainset=TRAIN
    )
    assert numbers(made)[:2] == [0, 1]
    assert [bool(demo.get("augmented")) for demo in made.demos] == [True, True, False, False]
    assert len(set(numbers(made))) == 4


def test_what_the_metric_refuses_is_no_demo(use):
    use(Model(limit=3))
    made = dspex.BootstrapFewShot(is_right, max_bootstrapped_demos=8, max_labeled_demos=0).compile(
        student(), trainset=TRAIN
    )
    assert numbers(made) == [0, 1, 2]


def test_a_threshold_of_zero_is_a_threshold(use):
    use(Model(limit=3))
    search = dspex.BootstrapFewShot(is_right, metric_threshold=0, max_bootstrapped_demos=8, max_labeled_demos=0)
    assert len(search.compile(student(), trainset=TRAIN).demos) == 8


def test_a_compiled_student_is_refused_with_the_way_out(use):
    use(Model())
    made = dspex.BootstrapFewShot(is_right).compile(student(), trainset=TRAIN)
    with pytest.raises(dspex.ConfigurationError, match=r"pass student\.reset_copy\(\)"):
        dspex.BootstrapFewShot(is_right).compile(made, trainset=TRAIN)
    again = dspex.BootstrapFewShot(is_right).compile(made.reset_copy(), trainset=TRAIN)
    assert numbers(again) == numbers(made)


def test_an_empty_trainset_is_refused_before_anything_runs(use):
    model = use(Model())
    with pytest.raises(dspex.ConfigurationError, match="empty"):
        dspex.BootstrapFewShot(is_right).compile(student(), trainset=[])
    assert not model.asked


def test_a_search_without_bootstraps_draws_another_labelled_set_for_each_seed(use):
    use(Model())
    search = dspex.BootstrapFewShotWithRandomSearch(
        is_right, max_bootstrapped_demos=0, max_labeled_demos=4, num_candidate_programs=5, race_z=None
    )
    made = search.compile(student(), trainset=TRAIN, valset=TRAIN[:4], holdout=0, restrict=range(5))
    sets = {tuple(numbers(one["program"])) for one in made.candidate_programs}
    assert len(sets) == 5
    assert {one["seed"] for one in made.candidate_programs} == set(range(5))


def test_a_search_stops_at_the_score_that_is_enough(use):
    model = use(Model())
    search = dspex.BootstrapRS(is_right, max_bootstrapped_demos=1, max_labeled_demos=1, stop_at_score=100.0)
    search.compile(student(), trainset=TRAIN, valset=TRAIN[:3], holdout=0, restrict=[-3, -2, -1])
    assert len(model.asked) <= 3 + 4


def test_a_restriction_that_leaves_nothing_is_refused(use):
    use(Model())
    with pytest.raises(dspex.ConfigurationError, match="no seed"):
        dspex.BootstrapRS(is_right).compile(student(), trainset=TRAIN, restrict=[99])


async def test_a_compile_on_the_running_loop_gives_the_same(use):
    use(Model(limit=5))
    made = [
        await dspex.BootstrapFewShot(is_right, max_labeled_demos=6).acompile(student(), trainset=TRAIN)
        for _ in range(2)
    ]
    assert numbers(made[0]) == numbers(made[1])


def test_a_budget_that_cannot_do_is_refused_before_the_first_call(use):
    model = use(Model())
    search = dspex.BootstrapRS(is_right, num_candidate_programs=8)
    with pytest.raises(dspex.BudgetExceeded, match="may take"):
        search.compile(student(), trainset=TRAIN, budget=dspex.Budget(calls=10))
    assert not model.asked
