"""What happens around a run: its price beforehand, forks, control arms, crashes, and several at once."""

import asyncio

import msgspec
import pytest

import dspex
from dspex.runtime.journal import FILE, replay
from dspex.runtime.records import Run
from dspex.testing.virtual_time import VirtualClock, simulate

# Forks


async def test_a_fork_pays_only_for_what_is_new(lab, app, tmp_path):
    first, second, third = lab.Model(), lab.Model(), lab.Model()
    await lab.compiled(first, run_dir=tmp_path / "run")
    whole = await lab.compiled(second, sets=6)
    fork = await lab.compiled(third, sets=6, run_dir=tmp_path / "fork", fork=tmp_path / "run")
    assert lab.saved(fork, tmp_path) == lab.saved(whole, tmp_path)
    assert len(third.prompts) == len(second.prompts) - len(set(first.prompts) & set(second.prompts))
    assert fork.ledger.calls == whole.ledger.calls
    assert fork.ledger.paid == len(third.prompts) < len(second.prompts)
    assert fork.ledger.lost == 0
    run = replay((tmp_path / "fork" / FILE).read_bytes())[0][0]
    assert isinstance(run, Run)
    assert run.fork == str(tmp_path / "run")


async def test_a_fork_goes_on_by_itself_when_it_is_run_again(lab, app, tmp_path):
    await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    await lab.compiled(lab.Model(), sets=6, run_dir=tmp_path / "fork", fork=tmp_path / "run")
    model = lab.Model()
    await lab.compiled(model, sets=6, run_dir=tmp_path / "fork", fork=tmp_path / "run")
    await lab.compiled(model, sets=6, run_dir=tmp_path / "fork")
    assert model.prompts == []


async def test_a_budget_counts_what_a_fork_reuses_but_pays_less(lab, app, tmp_path):
    await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    budget = dspex.Budget(calls=60, on_short="stop")
    whole = await lab.compiled(lab.Model(), sets=6, budget=budget)
    fork = await lab.compiled(lab.Model(), sets=6, budget=budget, run_dir=tmp_path / "fork", fork=tmp_path / "run")
    assert lab.saved(fork, tmp_path) == lab.saved(whole, tmp_path)
    assert fork.ledger.paid < whole.ledger.paid


async def test_a_fork_of_nothing_is_an_error(lab, app, tmp_path):
    with pytest.raises(dspex.JournalError, match="is no run folder"):
        await lab.compiled(lab.Model(), run_dir=tmp_path / "fork", fork=tmp_path / "none")
    assert not (tmp_path / "fork").exists()


# The price beforehand


class Bounded:
    """A mixin whose estimate is 5 runs of each validation example, and 8 of each training example."""

    max_labeled_demos = 3

    def estimate(self, shape):
        return dspex.Estimate(task=dspex.Range(0, 5 * shape.val), teacher=dspex.Range(0, 8 * shape.train))


def quoting(lab):
    return type("Quoting", (Bounded, lab.Search), {})()


async def test_a_quote_bounds_what_is_spent_in_every_unit(lab, app):
    class Counting(lab.Model):
        async def complete(self, request):
            reply = await super().complete(request)
            return msgspec.structs.replace(reply, usage=dspex.Usage(reply.usage.input_tokens // 3, 10))

    model = Counting()
    dspex.configure(prices={"custom/lab": (1.0, 2.0)})
    with dspex.context(lm=dspex.LM("lab", provider=model, cache=False, max_tokens=10)):
        student = dspex.Predict("question -> answer")
        quote = quoting(lab).quote(student, **lab.DATA)
        assert model.prompts == []
        job = quoting(lab).start(student, **lab.DATA)
        assert job.quote == quote
        program = await job
    assert quote.calls == 5 * 16 + 8 * 20
    assert quote.by_role == {"task": 80, "teacher": 160, "prompt": 0, "reflection": 0, "evidence": 0, "control": 0}
    spent = program.ledger
    assert (spent.calls / quote.calls, spent.tokens / quote.tokens, spent.usd / quote.usd) < (1, 1, 1)
    assert "at most 240 calls (80 task, 160 teacher), " in str(quote)


@pytest.mark.parametrize(
    ("budget", "unit"), [({"calls": 239}, "calls"), ({"tokens": 1_000}, "tokens"), ({"usd": 0.001}, "usd")]
)
async def test_a_run_that_may_not_fit_is_refused_in_any_unit(lab, app, tmp_path, budget, unit):
    model = lab.Model()
    dspex.configure(prices={"custom/lab": (1.0, 2.0)})
    with pytest.raises(
        dspex.BudgetExceeded, match=f"may take at most 240 calls .*; the budget has .* {unit}"
    ) as caught:
        await lab.compiled(model, optimizer=quoting(lab), budget=dspex.Budget(**budget), run_dir=tmp_path / "run")
    assert caught.value.unit == unit
    assert model.prompts == []
    assert not (tmp_path / "run").exists()


async def test_an_unknown_price_is_an_error_before_anything_is_spent(lab, app):
    model = lab.Model()
    with pytest.raises(dspex.ConfigurationError, match="needs the price of"):
        await lab.compiled(model, optimizer=quoting(lab), budget=dspex.Budget(usd=100))
    assert model.prompts == []


async def test_an_optimizer_that_can_do_with_less_is_fitted_to_the_budget(lab, app):
    class Fitting(lab.Search):
        most = 6

        def estimate(self, shape):
            return dspex.Estimate(task=dspex.Range(0, self.most * shape.val))

        def fit(self, shape, budget):
            self.most = budget.calls // shape.val
            return self

        async def run(self, ctx):
            return ctx.student

    program = await lab.compiled(lab.Model(), optimizer=Fitting(), budget=dspex.Budget(calls=40, on_short="fit"))
    assert "settings were made smaller to fit the budget: at most 32 calls" in program.evidence.notes[1]
    with pytest.raises(dspex.BudgetExceeded):
        await lab.compiled(lab.Model(), optimizer=quoting(lab), budget=dspex.Budget(calls=40, on_short="fit"))


async def test_dollars_are_counted_by_the_tables_prices_in_every_account(lab, app, tmp_path):
    dspex.configure(prices={"custom/lab": (1.0, 2.0)})
    program = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    spent = program.ledger
    dollars = (spent.tokens + 5 * spent.calls) / 1e6  # a reply has 5 tokens, which cost twice as much
    assert spent.usd == pytest.approx(program.evidence.usd) == pytest.approx(dollars)
    assert spent.usd > 0
    app.configure(prices={"custom/lab": (100.0, 200.0)})
    again = await lab.compiled(lab.Model(), run_dir=tmp_path / "run")
    assert again.ledger.usd == program.ledger.usd, "what was paid then is what it was"


@pytest.mark.parametrize(("unit", "limit"), [("tokens", 3_000), ("usd", 0.004)])
async def test_a_short_reply_limit_lets_a_small_budget_do_something(lab, app, unit, limit):
    class Counting(lab.Model):
        async def complete(self, request):
            reply = await super().complete(request)
            return msgspec.structs.replace(reply, usage=dspex.Usage(reply.usage.input_tokens // 3, 10))

    model = Counting()
    dspex.configure(prices={"custom/lab": (1.0, 2.0)})
    budget = dspex.Budget(**{unit: limit}, on_short="stop")
    with dspex.context(lm=dspex.LM("lab", provider=model, cache=False, max_tokens=10)):
        program = await lab.Search().acompile(dspex.Predict("question -> answer"), **lab.DATA, budget=budget)
    assert program.evidence.stopped == "budget"
    assert limit / 2 < getattr(program.ledger, unit) <= limit


# Control arms


async def test_controls_are_scored_on_request_and_say_what_the_gain_is_worth(lab, app):
    without, model = lab.Model(), lab.Model()
    await lab.compiled(without)
    program = await lab.compiled(model, controls=True)
    arms = {arm.name: arm for arm in program.evidence.controls}
    assert set(arms) == {"no instructions", "its words shuffled", "demos drawn at random"}
    assert len(model.prompts) == len(without.prompts) + 3 * 16
    assert program.evidence.usage["control"]["calls"] == 3 * 16  # the winner has been run on them
    assert all(0 <= arm.score <= 1 and arm.comparison.n == 16 for arm in arms.values())
    assert any("points over its words shuffled" in note for note in program.evidence.notes)


async def test_what_the_winner_does_not_have_is_not_varied(lab, app):
    class Nothing(lab.Search):
        async def run(self, ctx):
            return ctx.student

    program = await lab.compiled(lab.Model(), optimizer=Nothing(), controls=True)
    assert [arm.name for arm in program.evidence.controls] == ["no instructions", "its words shuffled"]


# Crashes


def crashing(lab, crashes):
    """The search, whose algorithm raises what `crashes` holds, one a life, after its first wave and the next ones."""

    class Crashing(lab.Search):
        _lives = 0

        async def run(self, ctx):
            self._lives += 1
            await ctx.evaluate(ctx.student, ctx.val[: 4 * self._lives])
            if crashes:
                raise crashes.pop(0)
            return await super().run(ctx)

    return Crashing()


async def test_a_crash_is_begun_again_and_pays_for_nothing_twice(lab, app, tmp_path):
    whole, model = lab.Model(), lab.Model()
    expected = await lab.compiled(whole, optimizer=crashing(lab, []))
    optimizer = crashing(lab, [RuntimeError("a race"), asyncio.CancelledError(), KeyError("gone")])
    heard = []
    app.bus.subscribe(heard.append, "test")
    with dspex.context(lm=model.lm):
        job = optimizer.start(dspex.Predict("question -> answer"), **lab.DATA)
        program = await job
    assert job.restarts == 3
    assert program.dump_state() == expected.dump_state()
    assert len(model.prompts) == len(set(model.prompts)) == len(whole.prompts)
    for _ in range(100):
        await asyncio.sleep(0)
    told = [event for event in heard if type(event).__name__ == "ChildRestarted"]
    assert [(event.child, event.error) for event in told] == [
        (f"job {job.run_dir}", "RuntimeError"),
        (f"job {job.run_dir}", "CancelledError"),
        (f"job {job.run_dir}", "KeyError"),
    ]


async def test_crashes_that_come_too_often_end_the_run(lab, app):
    crashes = [RuntimeError(str(number)) for number in range(9)]
    with pytest.raises(RuntimeError, match="3"):
        await lab.compiled(lab.Model(), optimizer=crashing(lab, crashes))


async def test_a_crash_that_comes_again_with_nothing_new_done_ends_the_run(lab, app):
    lives = []

    class Broken(lab.Search):
        async def run(self, ctx):
            lives.append(1)
            await ctx.evaluate(ctx.student, ctx.val)
            raise ZeroDivisionError("a slip")

    with pytest.raises(ZeroDivisionError, match="a slip"):
        await lab.compiled(lab.Model(), optimizer=Broken())
    assert len(lives) == 2


async def test_an_error_that_dspex_names_is_no_crash(lab, app):
    lives = []

    class Wrong(lab.Search):
        async def run(self, ctx):
            lives.append(1)
            raise dspex.ConfigurationError("so it cannot work")

    with pytest.raises(dspex.ConfigurationError, match="cannot work"):
        await lab.compiled(lab.Model(), optimizer=Wrong())
    assert len(lives) == 1


# Several at once


def test_jobs_share_a_limit_fairly(lab, tmp_path):
    """A short job is not behind all of a long one's calls, though both began in one block."""

    async def second(number, text):
        await asyncio.sleep(1)

    class Scores(lab.Search):
        async def run(self, ctx):
            await ctx.evaluate(ctx.student, ctx.val)
            return ctx.student

    async def main():
        model = lab.Model(second)
        loop = asyncio.get_running_loop()
        ends = {}

        async def run(name, count, options):
            job = Scores().start(
                dspex.Predict("question -> answer"), trainset=lab.examples(3), valset=lab.examples(count, 50), **options
            )
            job._outcome.add_done_callback(lambda _: ends.__setitem__(name, loop.time()))
            return job

        async with dspex.App(clock=VirtualClock()):
            lm = dspex.LM("lab", provider=model, cache=False, max_in_flight=2)
            with dspex.context(lm=lm):
                jobs = [await run("long", 60, {"seed": 1}), await run("short", 6, {"seed": 2})]
            began = loop.time()
            for job in jobs:
                await job
        return {name: end - began for name, end in ends.items()}, model.most

    (ends, most), _ = simulate(main)
    assert most == 2
    assert ends["long"] == pytest.approx(33, abs=1.5)
    assert ends["short"] <= 8
