"""Demonstrations chosen for each call: bootstrapped once, then looked up."""

import pytest

import dspex
from dspex.testing import DummyVectorizer


def numbers(demos):
    return [int(demo["question"][2:]) for demo in demos]


def shown(model, before):
    """The demonstrations in the last prompt, as numbers in their order."""
    asked = [line for line in model.prompts[-1].splitlines() if line.startswith("n=")]
    return [int(one[2:].split()[0]) for one in asked][:-1] if len(model.prompts) > before else None


def test_the_teacher_runs_once_on_each_example_and_a_call_is_one_call(model, data, student, right):
    program = dspex.KNNFewShot(3, data.trainset, DummyVectorizer(), metric=right, max_labeled_demos=3).compile(student)
    assert len(model.prompts) == 40
    assert sorted(numbers(program.demos)) == list(range(40))
    assert {True, False} == {bool(demo.get("augmented")) for demo in program.demos}
    for _ in range(2):
        before = len(model.prompts)
        program(question="n=133")
        assert len(model.prompts) == before + 1
        assert shown(model, before)[-1] in (13, 33, 3)
    assert student.demos == []
    assert student.demo_selector is None


def test_what_finds_the_nearest_can_be_looked_at(data):
    knn = dspex.KNNFewShot(2, data.trainset, DummyVectorizer()).KNN
    assert (knn.k, len(knn.trainset)) == (2, 40)
    assert numbers(knn(question="n=17"))[0] == 17


def test_what_can_be_looked_at_is_what_a_call_is_shown_without_a_vectorizer_too(model, data, student):
    optimizer = dspex.KNNFewShot(3, data.trainset, max_bootstrapped_demos=0)
    program = optimizer.compile(student)
    for number in range(100, 140):
        program(question=f"n={number}")
        assert shown(model, 0) == numbers(optimizer.KNN(question=f"n={number}"))[::-1]


def test_without_bootstraps_nothing_is_run(model, data, student):
    program = dspex.KNNFewShot(2, data.trainset, DummyVectorizer(), max_bootstrapped_demos=0).compile(student)
    assert model.prompts == []
    program(question="n=12")
    assert 12 not in shown(model, 0)
    assert len(shown(model, 0)) == 2


@pytest.mark.parametrize("vectorizer", [None, DummyVectorizer(), dspex.Embedder(DummyVectorizer())])
async def test_a_saved_program_loads_and_shows_the_same(model, data, student, right, tmp_path, vectorizer):
    async with dspex.App(lm=dspex.settings.lm):
        program = await dspex.KNNFewShot(3, data.trainset, vectorizer, metric=right).acompile(student)
        program.save(tmp_path / "program.json")
        loaded = dspex.Predict("question -> answer")
        if isinstance(vectorizer, dspex.Embedder):  # of a function: no file can hold it
            loaded.demo_selector = dspex.NearestDemos(3, vectorizer)
        loaded.load(tmp_path / "program.json")
        for one in (program, loaded):
            await one.acall(question="n=133")
    assert model.prompts[-1] == model.prompts[-2]


def test_a_run_that_was_begun_goes_on(model, data, student, right, tmp_path):
    knn = dspex.KNNFewShot(3, data.trainset, DummyVectorizer(), metric=right)
    first = knn.start(student, run_dir=tmp_path / "run").result(10)
    again = knn.compile(student, run_dir=tmp_path / "run")
    assert len(model.prompts) == 40
    assert again.dump_state() == first.dump_state()
    other = dspex.KNNFewShot(4, data.trainset, DummyVectorizer(), metric=right)
    with pytest.raises(dspex.JournalError, match="optimizer differs"):
        other.compile(student, run_dir=tmp_path / "run")


def test_of_the_nearest_no_more_than_asked_are_runs(model, data, student):
    options = {"max_bootstrapped_demos": 1, "max_labeled_demos": 16}
    program = dspex.KNNFewShot(3, data.trainset, DummyVectorizer(), **options).compile(student)
    assert len(program.demos) == 80
    before = len(model.prompts)
    program(question="n=133")
    assert len(shown(model, before)) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"k": 0}, "k=0"),
        ({"vectorizer": 3}, "vectorizer=3"),
        ({"max_rounds": 0}, "max_rounds=0"),
        ({"trainset": []}, "trainset is empty"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_paid(model, data, student, arguments, says):
    with pytest.raises(dspex.ConfigurationError, match=says):
        dspex.KNNFewShot(**{"k": 2, "trainset": data.trainset, **arguments}).compile(student)
    assert model.prompts == []


def first(texts):
    return [[float(len(text)), 1.0] for text in texts]


def last(texts):
    return [[1.0, float(len(text))] for text in texts]


async def test_in_a_chain_each_step_s_program_keeps_its_own_way_to_choose(model, data, student, right):
    made = {}

    class Kept(dspex.Optimizer):
        async def run(self, ctx):
            for name, vectorizer in {"first": first, "last": last}.items():
                knn = dspex.KNNFewShot(2, [], vectorizer, metric=right)
                made[name] = await ctx.compile(knn, ctx.student, label=name)
            made["race"] = await ctx.compile(dspex.StrategyRace(right, 200), made["first"], label="race")
            made.update({name: ctx.program(one) for name, one in made.items()})
            return ctx.student

    await Kept().acompile(student, trainset=data.trainset, valset=data.valset)
    assert made["first"].demo_selector.vectorizer is first
    assert made["last"].demo_selector.vectorizer is last


async def test_what_else_an_earlier_step_has_set_stays(model, data, student, right):
    class After(dspex.Optimizer):
        async def run(self, ctx):
            before = ctx.student.with_params({"self": {"own": 1}})
            made = await ctx.compile(dspex.KNNFewShot(2, [], max_bootstrapped_demos=0), before, label="knn")
            assert made.predictors["self"].params["own"] == 1
            return ctx.student

    await After().acompile(student, trainset=data.trainset)
