"""Examples that belong together are held together, and nothing is learnt of them."""

import json

import pytest

import dspex


class Look(dspex.Optimizer):
    """Keeps what it was given."""

    def __init__(self, metric):
        self.metric = metric

    async def run(self, ctx):
        ctx.attach(train=list(ctx.train), val=list(ctx.val))
        await ctx.evaluate(ctx.consider(ctx.student, "student"), ctx.val)
        return ctx.student


def customers(count, start=0, each=5):
    """Questions of which `each` in a row are one customer's; every 1,000 numbers the customers come again."""
    rows = [(n, f"c{n % 1000 // each}") for n in range(start, start + count)]
    return [
        dspex.Example(question=f"n={n}", answer=str(2 * n), customer=who).with_inputs("question") for n, who in rows
    ]


def of(examples):
    return {one.customer for one in examples}


def held_of(program, examples):
    """Those that the search was not given."""
    known = {one.question for one in (*program.train, *program.val)}
    return [one for one in examples if one.question not in known]


@pytest.mark.parametrize("group", ["customer", lambda one: one.customer], ids=["a field", "a function"])
@pytest.mark.parametrize(("holdout", "held"), [("auto", 20), (0.25, 30)])
async def test_of_a_group_all_examples_are_held_or_none(lab, app, group, holdout, held):
    data = {"trainset": customers(120), "valset": None, "holdout": holdout}
    program = await lab.compiled(lab.Model(), optimizer=Look(lab.right), group=group, **data)
    apart = held_of(program, data["trainset"])
    assert len(apart) == held
    assert len(of(apart)) == held // 5
    assert not of(apart) & of(program.train)


async def test_examples_of_the_other_set_are_left_out_with_their_group_and_that_is_said(lab, app):
    data = {"trainset": customers(100), "valset": customers(50, 1000), "holdout": 0.2}
    program = await lab.compiled(lab.Model(), optimizer=Look(lab.right), group="customer", **data)
    apart = held_of(program, [*data["trainset"], *data["valset"]])
    assert len(apart) >= 20
    assert not of(apart) & (of(program.train) | of(program.val))
    assert any("of held groups" in note for note in program.evidence.notes)


async def test_a_held_example_of_a_group_to_learn_from_is_left_out(lab, app):
    given = [*customers(1, 4), *customers(25, 500)]
    data = {"trainset": customers(4), "valset": None, "holdout": given}
    program = await lab.compiled(lab.Model(), optimizer=Look(lab.right), group="customer", **data)
    assert len(program.train) == 4
    assert "1 held examples are also in train or val, or of a group that is" in program.evidence.notes[0]


class Thirds(Look):
    """Validates on a third of the trainset, drawn at random, where it is given no valset."""

    def parts(self, train, val, rng):
        order = rng.sample(train, len(train))
        return (train, val) if val else (order[len(order) // 3 :], order[: len(order) // 3])


class Outer(dspex.Optimizer):
    """Has another optimizer part what it is given."""

    def __init__(self, metric):
        self.metric = metric

    async def run(self, ctx):
        return await ctx.compile(Thirds(self.metric), ctx.student, label="inner", train=ctx.train)


@pytest.mark.parametrize("optimizer", [Thirds, Outer], ids=["alone", "inside another"])
async def test_a_valset_that_an_optimizer_makes_of_the_trainset_has_whole_groups(lab, app, optimizer):
    data = {"trainset": customers(60), "valset": None, "holdout": 0}
    program = await lab.compiled(lab.Model(), optimizer=optimizer(lab.right), group="customer", **data)
    assert (len(program.train), len(program.val)) == (40, 20)
    assert not of(program.train) & of(program.val)


async def test_a_valset_that_is_given_stays_as_it_is(lab, app):
    data = {"trainset": customers(20), "valset": customers(7, 18), "holdout": 0}
    program = await lab.compiled(lab.Model(), optimizer=Thirds(lab.right), group="customer", **data)
    assert program.val == data["valset"]


async def test_groups_that_leave_nothing_for_a_valset_are_told_of_before_anything_is_run(lab, app):
    model, data = lab.Model(), {"trainset": customers(30, each=15), "valset": None, "holdout": 0}
    with pytest.raises(dspex.ConfigurationError, match=r"group='customer': no valset of up to 10 .* Give a valset="):
        await lab.compiled(model, optimizer=Thirds(lab.right), group="customer", **data)
    assert model.prompts == []


async def test_groups_larger_than_what_is_to_be_held_are_none_of_it(lab, app):
    data = {"trainset": customers(120, each=60), "valset": None}
    program = await lab.compiled(lab.Model(), optimizer=Look(lab.right), group="customer", **data)
    assert len(program.train) == 120
    assert "no examples were set apart: too few groups are small enough" in program.evidence.notes


async def test_traced_runs_of_held_groups_are_not_learned_from(lab, app, tmp_path):
    """By what stands in their inputs: the customer of a number."""
    path = tmp_path / "traces.jsonl"
    runs = [
        {"inputs": {"question": f"n={n}"}, "outputs": {"answer": str(2 * n)}, "score": 1.0} for n in (903, 904, 700)
    ]
    path.write_text("".join(json.dumps(run) + "\n" for run in runs))
    held = customers(3, 900)
    program = await lab.compiled(
        lab.Model(), warm_start=path, holdout=held, group=lambda one: int(one.question[2:]) // 5
    )
    shown = {demo["question"] for one in program.candidate_programs for demo in one["program"].demos}
    assert "n=700" in shown
    assert not shown & {"n=903", "n=904"}
    assert "2 were left out, as their inputs, or their groups, are in the valset or held" in program.evidence.notes


async def test_another_grouping_is_another_run(lab, app, tmp_path):
    data = {"trainset": customers(120), "valset": None, "run_dir": tmp_path / "run"}
    await lab.compiled(lab.Model(), optimizer=Look(lab.right), group="customer", **data)
    with pytest.raises(dspex.JournalError, match="held examples"):
        await lab.compiled(lab.Model(), optimizer=Look(lab.right), **data)


@pytest.mark.parametrize(
    ("group", "says"),
    [
        (7, "the name of a field of the examples, or a function"),
        ("custmer", "has no such field"),
        (lambda one: one.question[99], "failed on Example"),
    ],
    ids=["a number", "no field", "a function that fails"],
)
async def test_what_names_no_group_is_refused_before_anything_is_paid(lab, app, group, says):
    model = lab.Model()
    data = {"trainset": customers(120), "valset": None}
    with pytest.raises(dspex.ConfigurationError, match=says):
        await lab.compiled(model, optimizer=Look(lab.right), group=group, **data)
    assert model.prompts == []
