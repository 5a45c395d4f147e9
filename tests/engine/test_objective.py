"""Which of the candidates is returned: by score, by score and price, by a function of the user's."""

import re

import pytest

import dspex
from dspex.plugin import Capabilities, LMResponse, Usage

PRICES = {"house/shop": (1_000_000.0, 0.0)}  # a dollar a token, to read


class Shop:
    """Knows of 10 questions as many as `knows` says for the number of demos; a demo costs a dollar."""

    capabilities = Capabilities(chat=True)

    def __init__(self, knows):
        self.knows = knows

    async def complete(self, request):
        demos = len(request.messages) // 2 - 1
        number = int(re.findall(r"n=(\d+)", request.messages[-1].text)[-1])
        answer = 2 * number if number % 10 < self.knows[demos] else 0
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]", Usage(1 + demos, 0))


class Numbers(dspex.Optimizer):
    """Scores programs of 0 to 3 demos, and finds the last one best."""

    def __init__(self, metric, is_scored=True):
        self.metric = metric
        self.is_scored = is_scored

    def estimate(self, shape):
        return dspex.Estimate(task=dspex.Range(0, 4 * shape.val))

    async def run(self, ctx):
        demos = [dspex.Demo(one.toDict(), origin=ctx.key_of(one)) for one in ctx.train[:3]]
        made = [ctx.consider(ctx.student.with_demos({"self": tuple(demos[:n])}), f"{n}") for n in range(4)]
        if self.is_scored:
            await ctx.evaluate_all([(one, ctx.val) for one in made])
        return made[-1]


async def compiled(lab, knows, *, prices=PRICES, count=60, **options):
    optimizer = options.pop("optimizer", None) or Numbers(lab.right)
    data = {"trainset": lab.examples(6), "valset": lab.examples(count, 100), "holdout": 0}
    async with dspex.App(prices=prices):
        with dspex.context(lm=dspex.LM("house/shop", provider=Shop(knows), cache=False)):
            student = dspex.Predict("question -> answer")
            return await optimizer.acompile(student, **{**data, **options})


def on_frontier(program):
    return [(one["label"], one["score"], one["usd"]) for one in program.frontier]


async def test_the_frontier_has_what_is_better_than_all_that_is_cheaper(lab):
    program = await compiled(lab, [2, 5, 4, 9])
    assert on_frontier(program) == [("0", 20.0, 1.0), ("1", 50.0, 2.0), ("3", 90.0, 4.0)]
    assert program.frontier[1]["program"].demos
    assert len(program.demos) == 3  # what the optimizer itself has found


async def test_a_gain_within_the_interval_is_no_gain(lab):
    program = await compiled(lab, [2, 8, 8, 9], count=10)
    assert [label for label, *_ in on_frontier(program)] == ["0", "1"]


async def test_pareto_returns_the_cheapest_that_is_not_shown_to_be_worse(lab):
    program = await compiled(lab, [2, 8, 8, 9], count=10, objective="pareto")
    assert len(program.demos) == 1
    assert any(note.startswith("chosen by score and price, of 2 programs") for note in program.evidence.notes)


async def test_a_cheaper_program_that_is_as_good_as_the_student_is_kept(lab):
    student = dspex.Predict("question -> answer")
    student.demos = lab.examples(3)

    class Fewer(Numbers):
        async def run(self, ctx):
            await super().run(ctx)
            await ctx.evaluate(ctx.student, ctx.val)
            return ctx.student

    async with dspex.App(prices=PRICES):
        with dspex.context(lm=dspex.LM("house/shop", provider=Shop([1, 8, 8, 8]), cache=False)):
            program = await Fewer(lab.right).acompile(
                student, trainset=lab.examples(6), valset=lab.examples(40, 100), holdout=0, objective="pareto"
            )
    assert len(program.demos) == 1
    assert program.evidence.costs["usd"] == (4.0, 2.0)
    assert ("1,000 runs, usd", "4,000 before, 2,000 after") in list(program.evidence.rows())


async def test_a_function_of_score_and_dollars_chooses(lab, tmp_path):
    seen = []

    def worth(score, usd, seconds):
        seen.append(seconds)
        return score - 0.2 * usd

    program = await compiled(lab, [2, 6, 7, 9], objective=worth, run_dir=tmp_path / "run")
    assert len(program.demos) == 1
    assert len(seen) == 4
    assert min(seen) > 0
    before = list(seen)
    seen.clear()
    again = await compiled(lab, [2, 6, 7, 9], objective=worth, run_dir=tmp_path / "run")
    assert seen == before  # those of the journal
    assert lab.saved(again, tmp_path) == lab.saved(program, tmp_path)


async def test_no_second_is_in_what_is_saved(lab, tmp_path):
    program = await compiled(lab, [2, 6, 7, 9], objective=lambda score, usd, seconds: score)
    assert b"seconds" not in lab.saved(program, tmp_path)
    assert "seconds" not in program.frontier[0]


async def test_what_costs_too_much_is_left_out(lab):
    program = await compiled(lab, [2, 5, 6, 9], max_usd_per_call=3.0)
    assert len(program.demos) == 2
    assert any(note == "chosen of 3 programs within the price" for note in program.evidence.notes)


async def test_where_nothing_is_cheap_enough_the_student_comes_back(lab):
    program = await compiled(lab, [2, 5, 6, 9], max_usd_per_call=0.5)
    assert program.demos == []
    assert any("no program costs 0.5 USD a run or less; the cheapest: 1" in note for note in program.evidence.notes)


async def test_without_prices_tokens_stand_for_them(lab):
    program = await compiled(lab, [2, 5, 4, 9], prices={})
    assert [(one["label"], one["usd"], one["tokens"]) for one in program.frontier] == [
        ("0", None, 1.0),
        ("1", None, 2.0),
        ("3", None, 4.0),
    ]
    with pytest.raises(dspex.ConfigurationError, match="needs the price"):
        await compiled(lab, [2, 5, 4, 9], prices={}, max_usd_per_call=3.0)


async def test_an_optimizer_that_scores_nothing_is_taken_at_its_word(lab):
    program = await compiled(lab, [2, 5, 4, 9], optimizer=Numbers(lab.right, is_scored=False), objective="pareto")
    assert len(program.demos) == 3
    assert len(program.frontier) == 0
    assert any("no program was scored on the whole valset" in note for note in program.evidence.notes)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"objective": "cheap"}, "objective='cheap'"),
        ({"max_usd_per_call": 0}, "max_usd_per_call=0"),
        ({"objective": lambda score, usd, seconds: score / 0}, r"objective\(score=0.9, .*ZeroDivisionError"),
    ],
)
async def test_what_is_no_objective_is_refused(lab, options, says):
    with pytest.raises(dspex.ConfigurationError, match=says):
        await compiled(lab, [2, 5, 4, 9], **options)


async def test_another_objective_is_another_run(lab, tmp_path):
    await compiled(lab, [2, 5, 4, 9], run_dir=tmp_path / "run")
    with pytest.raises(dspex.JournalError, match="arguments differs"):
        await compiled(lab, [2, 5, 4, 9], run_dir=tmp_path / "run", objective="pareto")


async def test_dollars_of_a_run_are_those_of_the_price_list(lab):
    program = await compiled(lab, [2, 5, 4, 9])
    assert program.ledger.usd == 60 * (1 + 2 + 3 + 4)
