"""Optimizers in a chain: one journal, one budget, and the best program of all steps."""

from types import MappingProxyType

import pytest

import dspex
from dspex.testing import OptimizerContract


class Shown(dspex.Optimizer):
    """Shows the first `k` examples of its trainset, then does what it was told to do with the context."""

    def __init__(self, k, then=None):
        self.k = k
        self.then = then

    def estimate(self, shape):
        return dspex.Estimate(task=dspex.Range(0, shape.val))

    async def run(self, ctx):
        self._seen = ctx  # for the test to look at
        demos = tuple(dspex.Demo(one.toDict(), origin=ctx.key_of(one)) for one in ctx.train[: self.k])
        made = ctx.consider(ctx.student.with_demos({"self": demos}), f"{self.k} shown")
        if self.then is not None:
            await self.then(ctx, made)
        return made


def chain(metric, **optimizers):
    return dspex.BetterTogether(metric, **optimizers)


def test_the_best_program_of_the_chain_is_returned_with_all_others(model, data, student, right):
    together = chain(right, few=Shown(1), many=Shown(4), none=Shown(0))
    program = together.compile(
        student, trainset=data.trainset, valset=data.valset, strategy="few -> many -> none", keep="estimate"
    )
    assert len(program.demos) == 4
    assert not program.flag_compilation_error_occurred
    made = {one["strategy"]: (len(one["program"].demos), one["score"]) for one in program.candidate_programs}
    assert {name: demos for name, (demos, _) in made.items()} == {"": 0, "few": 1, "few -> many": 4}
    assert made["few -> many"][1] == program.candidate_programs[0]["score"] > made[""][1]


@pytest.mark.parametrize("then", ["BootstrapRS", "StrategyRace"])
def test_a_search_after_nearest_demonstrations_shows_its_own_at_each_call(model, data, student, right, then):
    later = {
        "BootstrapRS": dspex.BootstrapRS(right, max_labeled_demos=8, num_candidate_programs=1, race_z=None),
        "StrategyRace": dspex.StrategyRace(right, 160),
    }[then]
    near = dspex.KNNFewShot(2, data.trainset, max_bootstrapped_demos=0)
    program = chain(right, near=near, search=later).compile(
        student, trainset=data.trainset, valset=data.valset, strategy="near -> search", keep="best"
    )
    tried = {one["label"]: one["program"] for one in program.candidate_programs}
    fixed = [one for label, one in tried.items() if label.startswith("step 2/") and "nearest" not in label]
    assert fixed
    for one in fixed:
        one(question="n=333")
        assert model.prompts[-1].count("[[ ## question ## ]]\nn=") == len(one.demos) + 1


def test_of_equal_programs_the_earlier_one_is_returned(model, data, student):
    together = chain(lambda example, prediction: 1, p=Shown(2), q=Shown(3))
    program = together.compile(student, trainset=data.trainset, valset=data.valset, strategy="p -> q")
    assert program.demos == []


def test_without_a_valset_it_is_the_first_tenth_of_the_trainset(model, data, student, right):
    shown = Shown(3)
    program = chain(right, p=shown).compile(
        student, trainset=data.trainset, strategy="p", shuffle_trainset_between_steps=False
    )
    assert [one.question for one in shown._seen.val] == [f"n={number}" for number in range(4)]
    assert [one.question for one in shown._seen.train] == [f"n={number}" for number in range(4, 40)]
    assert len(program.candidate_programs[0]["subscores"]) == 4


@pytest.mark.parametrize("count", [40, 9], ids=["asked for", "too few examples"])
def test_where_nothing_is_scored_the_last_program_is_returned(model, data, student, right, count):
    options = {"valset_ratio": 0} if count == 40 else {}
    together = chain(right, p=Shown(3), q=Shown(1))
    program = together.compile(student, trainset=data.trainset[:count], strategy="p -> q", **options)
    assert len(program.demos) == 1
    assert model.prompts == []


def test_each_step_has_the_trainset_in_another_order(model, data, student, right):
    first, second = Shown(4), Shown(4)
    chain(right, p=first, q=second).compile(student, trainset=data.trainset, valset=data.valset, strategy="p -> q")
    orders = [[one.question for one in step._seen.train] for step in (first, second)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(one.question for one in data.trainset)


async def slip(ctx, made):
    raise KeyError("a slip of the algorithm")


async def fail(ctx, made):
    """The first examples all fail."""
    await ctx.evaluate(made, ctx.train[:5])


async def fail_in_a_branch(ctx, made):
    async def branch():
        raise KeyError("a slip of a branch")

    await ctx.gather(branch(), ctx.evaluate(made, ctx.train[:8]))


@pytest.mark.parametrize("then", [slip, fail, fail_in_a_branch])
def test_a_failing_step_ends_the_chain_and_what_was_made_before_it_counts(model, data, student, right, tmp_path, then):
    def picky(example, prediction, trace=None):
        if then is fail and example in data.trainset:
            raise KeyError("a slip of the metric")
        return right(example, prediction)

    def compiled():
        together = chain(picky, p=Shown(4), broken=Shown(2, then), never=Shown(1))
        return together.compile(
            student,
            trainset=data.trainset,
            valset=data.valset,
            strategy="p -> broken -> never",
            run_dir=tmp_path / "run",
        )

    program = compiled()
    assert program.flag_compilation_error_occurred
    assert len(program.demos) == 4
    assert {one["strategy"] for one in program.candidate_programs} == {"", "p", "p -> broken"}
    assert any("step 2 of 3 failed, and ended the chain" in note for note in program.evidence.notes)
    paid = len(model.prompts)
    again = compiled()
    assert len(model.prompts) == paid
    assert again.flag_compilation_error_occurred
    assert again.evidence == program.evidence


def test_a_chain_is_one_run_with_one_budget(model, data, student, right, tmp_path):
    together = chain(right, p=dspex.BootstrapRS(right, num_candidate_programs=2), q=Shown(4))
    options = {"trainset": data.trainset, "valset": data.valset, "strategy": "p -> q -> p"}
    whole = together.compile(student, **options, run_dir=tmp_path / "run")
    paid = len(model.prompts)
    assert whole.ledger.paid == paid
    assert together.quote(student, **options).calls >= paid
    with pytest.raises(dspex.BudgetExceeded, match="BetterTogether may take"):
        together.compile(student, **options, budget=dspex.Budget(calls=paid - 1))
    short = dspex.Budget(calls=paid // 2, on_short="stop")
    stopped = together.compile(student, **options, budget=short, run_dir=tmp_path / "short")
    assert stopped.evidence.stopped == "budget"
    assert len(model.prompts) - paid <= paid // 2
    again = together.compile(student, **options, run_dir=tmp_path / "short")
    assert again.dump_state() == whole.dump_state()


@pytest.mark.parametrize(("calls", "strategy"), [(500, "p -> q -> p"), (900, "p -> q"), (700, "both -> q")])
def test_a_chain_is_made_to_fit_a_budget(model, data, student, right, calls, strategy):
    inner = chain(right, one=dspex.BootstrapRS(right, num_candidate_programs=16), two=Shown(2))
    together = chain(right, p=dspex.BootstrapRS(right, num_candidate_programs=16), q=Shown(4), both=inner)
    options = {"trainset": data.trainset, "valset": data.valset, "strategy": strategy}
    options["optimizer_compile_args"] = {"both": {"strategy": "one -> two"}}
    assert together.quote(student, **options).calls > calls
    program = together.compile(student, **options, budget=dspex.Budget(calls=calls, on_short="fit"))
    assert program.evidence.stopped == "done"
    assert len(model.prompts) == program.ledger.calls <= calls
    assert any("made smaller" in note for note in program.evidence.notes)
    assert any("seed 0" in one["label"] for one in program.candidate_programs)  # not the least that it can do


def test_a_chain_that_cannot_do_with_less_is_refused(model, data, student, right):
    together = chain(right, p=Shown(1), q=dspex.BootstrapRS(right))
    options = {"trainset": data.trainset, "valset": data.valset, "strategy": "p -> q"}
    with pytest.raises(dspex.BudgetExceeded, match="BetterTogether may take"):
        together.compile(student, **options, budget=dspex.Budget(calls=100, on_short="fit"))
    assert model.prompts == []


def test_arguments_of_a_step_replace_the_common_ones(model, data, student, right):
    teacher, own = student.deepcopy(), student.deepcopy()
    teacher.demos, own.demos = [data.trainset[0]], [data.trainset[1], data.trainset[2]]
    first, second = Shown(2), Shown(2)
    chain(right, p=first, q=second).compile(
        student,
        trainset=data.trainset,
        valset=data.valset,
        teacher=teacher,
        strategy="p -> q",
        shuffle_trainset_between_steps=False,
        optimizer_compile_args={"q": {"trainset": data.examples(70, 5), "valset": data.valset[:3], "teacher": own}},
    )
    assert len(first._seen.teacher.predictors["self"].demos) == 1
    assert len(second._seen.teacher.predictors["self"].demos) == 2
    assert [one.question for one in second._seen.train] == [f"n={number}" for number in range(70, 75)]
    assert (len(first._seen.val), len(second._seen.val)) == (20, 3)


def test_examples_that_are_held_are_no_step_s(model, data, student, right):
    shown = Shown(3)
    chain(right, p=shown).compile(
        student,
        trainset=data.trainset,
        valset=data.valset,
        holdout=data.examples(500, 4),
        strategy="p",
        optimizer_compile_args={"p": {"trainset": data.examples(498, 6)}},
    )
    assert sorted(one.question for one in shown._seen.train) == ["n=498", "n=499"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"strategy": "p -> w"}, "'w' is no optimizer of this one; they are p, q"),
        ({"strategy": ""}, "'' is no optimizer"),
        ({"strategy": ["p", "q"]}, r"strategy=\['p', 'q'\]: names with arrows"),
        ({"valset_ratio": 1.0}, "valset_ratio=1.0"),
        ({"optimizer_compile_args": {"w": {}}}, "'w' is no optimizer"),
        ({"optimizer_compile_args": {"p": {"student": 1}}}, "Shown.compile has no argument 'student'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_paid(model, data, student, right, arguments, says):
    with pytest.raises(dspex.ConfigurationError, match=says):
        chain(right, p=Shown(1), q=Shown(2)).compile(
            student, **{"trainset": data.trainset, "strategy": "p -> q", **arguments}
        )
    assert model.prompts == []


def test_only_optimizers_make_a_chain(right):
    with pytest.raises(TypeError, match=r"BetterTogether\(p=\.\.\.\): it must be a Teleprompter"):
        dspex.BetterTogether(right, p="random search")
    assert list(dspex.BetterTogether(right).optimizers) == ["p", "w"]


def test_a_compile_of_one_s_own_is_no_step_of_a_chain(right):
    class Renamed(dspex.Optimizer):
        def compile(self, student, **data):
            return student

    with pytest.raises(dspex.ConfigurationError, match=r"Renamed has no `run`.* call it before or after"):
        dspex.BetterTogether(right, p=Renamed())


def test_another_argument_of_a_step_is_another_run(model, data, student, right, tmp_path):
    options = {"trainset": data.trainset, "strategy": "p", "run_dir": tmp_path / "run"}
    chain(right, p=Shown(1)).compile(student, **options)
    with pytest.raises(dspex.JournalError, match="optimizer differs"):
        chain(right, p=Shown(2)).compile(student, **options)


def test_the_part_that_decides_has_whole_groups(model, student, right, data):
    rows = [dspex.Example(**one, who=at // 4).with_inputs("question") for at, one in enumerate(data.trainset)]
    chain = dspex.BetterTogether(right, p=dspex.LabeledFewShot(99))
    made = chain.compile(
        student, trainset=rows, strategy="p", valset_ratio=0.15, group="who", holdout=0, keep="estimate"
    )
    numbers = [one["program"].demos for one in made.candidate_programs]
    shown = {int(demo["question"][2:]) // 4 for demos in numbers for demo in demos}
    assert shown == set(range(1, 10))  # 6 examples were to decide, and the first group has 4


class TestBetterTogether(OptimizerContract):
    cuts = 20

    def make(self, metric, trainset):
        return dspex.BetterTogether(
            metric,
            p=dspex.BootstrapFewShotWithRandomSearch(
                metric, max_bootstrapped_demos=1, max_labeled_demos=2, num_candidate_programs=1, race_z=1.64
            ),
            w=dspex.LabeledFewShot(3),
        )


def test_a_chain_inside_a_chain_is_scored_on_the_outer_valset(model, data, student, right):
    inner = chain(right, a=Shown(1), b=Shown(3))
    program = chain(right, p=inner).compile(
        student,
        trainset=data.trainset,
        valset=data.valset,
        strategy="p",
        optimizer_compile_args={"p": {"strategy": "a -> b"}},
    )
    assert None not in program.candidate_programs[0]["subscores"]
    assert len(program.demos) in (1, 3)


@pytest.mark.parametrize("has_common", [True, False], ids=["beside a common one", "alone"])
def test_a_step_inside_an_inner_chain_has_its_own_teacher(model, data, student, right, has_common):
    def shows(count):
        program = student.deepcopy()
        program.demos = data.trainset[:count]
        return program

    first, second, last = Shown(1), Shown(2), Shown(1)
    inner = {"strategy": "a -> b", "optimizer_compile_args": {"b": {"teacher": [shows(2), shows(3)]}}}
    chain(right, p=chain(right, a=first, b=second), q=last).compile(
        student,
        trainset=data.trainset,
        valset=data.valset,
        teacher=shows(1) if has_common else None,
        strategy="p -> q",
        optimizer_compile_args={"p": inner, "q": {"teacher": shows(4)}},
    )
    taught = [[len(one.predictors["self"].demos) for one in step._seen.teachers] for step in (first, second, last)]
    assert taught == [[1] if has_common else [], [2], [4]]


class Costly(Shown):
    """Has an argument of compile that says what it takes."""

    compile_arguments = MappingProxyType({"trials": None})

    def estimate(self, shape):
        return dspex.Estimate(task=dspex.Range(0, shape.arguments["trials"] * shape.val))


@pytest.mark.parametrize("is_inside", [False, True], ids=["a chain", "a chain inside another"])
def test_an_estimate_has_each_step_with_its_own_arguments(model, data, student, right, is_inside):
    together = chain(right, p=Costly(1), q=Shown(2))
    arguments = {"strategy": "p -> q", "optimizer_compile_args": {"p": {"trials": 5}}}
    if is_inside:
        together = chain(right, both=together)
        arguments = {"strategy": "both", "optimizer_compile_args": {"both": arguments}}
    options = {"trainset": data.trainset, "valset": data.valset, **arguments}
    looks = 2 if is_inside else 0  # of the outer chain, at the student and at what the inner one made
    assert together.quote(student, **options).calls == (5 + 1 + 3 + looks) * len(data.valset)
    assert together.compile(student, **options).ledger.calls <= together.quote(student, **options).calls
