"""A program on many inputs: lists in order, outcomes as a stream, failures kept with their input."""

import asyncio
import gc
import threading
import time
import tracemalloc
import weakref

import pytest

import dspex
from dspex.runtime.scope import SCOPE
from dspex.testing import DummyLM


class Doubles(dspex.Module):
    """Gives twice its input; a negative one is an error."""

    def __init__(self):
        self.running = self.most = 0

    async def aforward(self, x):
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        if x < 0:
            raise ValueError(f"no {x}")
        return 2 * x


class First(dspex.Module):
    """The input 0 waits until all others have ended."""

    def __init__(self, others):
        self.others = others
        self.gate = asyncio.Event()

    async def aforward(self, x):
        if x == 0:
            await self.gate.wait()
        else:
            self.others -= 1
        if not self.others:
            self.gate.set()
        return x


def items(*numbers):
    return [dspex.Example(x=number).with_inputs("x") for number in numbers]


@pytest.fixture(params=["sync", "async"])
def batch(request):
    """`batch`, or `abatch` awaited."""
    if request.param == "sync":
        return lambda program, *args, **kwargs: program.batch(*args, **kwargs)
    return lambda program, *args, **kwargs: asyncio.run(program.abatch(*args, **kwargs))


# The list


def test_results_are_in_the_inputs_order(batch):
    assert batch(Doubles(), items(3, 1, 2)) == [6, 2, 4]


@pytest.mark.parametrize(
    "given", [{"x": 2}, (2,), dspex.Example(x=2, y=9).with_inputs("x")], ids=["dict", "tuple", "example"]
)
def test_an_input_is_an_example_a_dict_or_a_tuple(batch, given):
    assert batch(Doubles(), [given]) == [4]


def test_a_failed_one_is_none_and_warned_of(batch):
    with pytest.warns(RuntimeWarning, match=r"1 of 3 inputs failed.*at 1: ValueError\('no -1'\)"):
        assert batch(Doubles(), items(1, -1, 2)) == [2, None, 4]


def test_failed_ones_are_returned_with_their_errors(batch):
    results, failed, errors = batch(Doubles(), items(-2, 1, -1), return_failed_examples=True)
    assert results == [None, 2, None]
    assert [example.x for example in failed] == [-2, -1]
    assert list(map(str, errors)) == ["no -2", "no -1"]


def test_at_max_errors_it_ends_with_what_there_is(batch):
    with pytest.raises(dspex.EvaluationError, match=r"2 of \d inputs failed.*no -2") as caught:
        batch(Doubles(), items(1, -1, -2, 4), num_threads=1, max_errors=2)
    assert caught.value.results == [2, None, None]
    assert "Traceback" not in str(caught.value)
    with pytest.raises(dspex.EvaluationError, match="Traceback"):
        batch(Doubles(), items(-1), max_errors=1, provide_traceback=True)


def test_an_empty_list_is_one(batch):
    assert batch(Doubles(), []) == []


def test_so_many_run_at_once(batch):
    program = Doubles()
    batch(program, items(*range(20)), num_threads=3)
    assert program.most == 3


def test_less_than_one_at_a_time_is_refused(batch):
    with pytest.raises(dspex.ConfigurationError, match="one at a time"):
        batch(Doubles(), items(1), num_threads=0)


def test_a_sync_program_runs_in_threads(batch):
    barrier = threading.Barrier(4)

    class Meets(dspex.Module):
        def forward(self, x):
            return barrier.wait(10)

    assert sorted(batch(Meets(), items(*range(4)))) == [0, 1, 2, 3]


def test_a_budget_ends_it(batch):
    lm = DummyLM([{"answer": "a"}] * 5)
    with dspex.context(lm=lm), dspex.budget(calls=2) as budget, pytest.raises(dspex.BudgetExceeded):
        batch(dspex.Predict("x -> answer"), items(*range(5)), num_threads=1)
    assert budget.spent.calls == 2


def test_a_budget_of_each_run_is_a_failure_of_that_run(batch):
    class Bounded(dspex.Module):
        def __init__(self):
            self.predict = dspex.Predict("x -> answer")

        async def aforward(self, x):
            with dspex.budget(calls=1):
                for _ in range(x):
                    await self.predict.acall(x=x)
            return x

    with dspex.context(lm=DummyLM([{"answer": "a"}] * 5)):
        results, _, errors = batch(Bounded(), items(1, 2, 1), return_failed_examples=True)
    assert results == [1, None, 1]
    assert isinstance(errors[0], dspex.BudgetExceeded)


def test_what_dspy_takes_besides_is_taken_and_nothing_is_printed(batch, capsys):
    assert batch(Doubles(), items(1), disable_progress_bar=False, timeout=0, straggler_limit=5) == [2]
    assert capsys.readouterr() == ("", "")


# The stream


async def test_outcomes_have_their_input():
    found = [outcome async for outcome in Doubles().outcomes(items(1, -1))]
    assert [(one.index, one.example.x, one.prediction, one.ok) for one in found] == [
        (0, 1, 2, True),
        (1, -1, None, False),
    ]
    assert str(found[1].error) == "no -1"


def test_a_plain_loop_does_the_same():
    found = [outcome.prediction for outcome in Doubles().outcomes(items(3, 1, 2))]
    assert found == [6, 2, 4]


@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "as they end"])
async def test_order(ordered):
    program = First(others=3)
    found = [one.index async for one in program.outcomes(items(0, 1, 2, 3), ordered=ordered, num_threads=2)]
    assert found == ([0, 1, 2, 3] if ordered else [1, 2, 3, 0])


async def test_an_async_source_is_read_as_it_comes():
    async def source():
        for number in range(5):
            await asyncio.sleep(0)
            yield {"x": number}

    assert [one.prediction async for one in Doubles().outcomes(source(), num_threads=2)] == [0, 2, 4, 6, 8]


async def test_an_error_of_the_source_is_raised_behind_what_came_before():
    def source():
        yield {"x": 1}
        raise RuntimeError("torn")

    stream = Doubles().outcomes(source(), num_threads=1).stream()
    assert (await anext(stream)).prediction == 2
    with pytest.raises(RuntimeError, match="torn"):
        await anext(stream)


@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "as they end"])
async def test_a_thousand_inputs_of_a_generator_take_the_memory_of_a_few(ordered):
    class Input(dict):
        """One that says when it is gone."""

    alive = most = 0

    def gone():
        nonlocal alive
        alive -= 1

    def source():
        nonlocal alive, most
        for number in range(1_000):
            one = Input(x=number)
            weakref.finalize(one, gone).atexit = False
            alive += 1
            most = max(most, alive)
            yield one
            del one

    total = 0
    async for outcome in Doubles().outcomes(source(), num_threads=8, ordered=ordered):
        total += outcome.prediction
    assert total == 1_000 * 999
    assert most <= 2 * 8 + 8


@pytest.mark.slow
@pytest.mark.parametrize(  # the sync form hands over to the async one
    ("form", "ordered"), [("async", False), ("sync", True)], ids=["async, as they end", "sync, in order"]
)
def test_thousands_of_items_take_no_more_memory_than_a_few_hundred(form, ordered):
    """Each prediction is 1 kB; every tenth item fails, and its error has the input in its frames."""

    class Pages(dspex.Module):
        async def aforward(self, page):
            await asyncio.sleep(0)
            if page.startswith("0"):
                raise ValueError(page)
            return dspex.Prediction(page=page + " ")

    def source(count):
        return ({"page": f"{number % 10}" + "x" * 1_000} for number in range(count))

    async def count_async(stream):
        good = 0
        async for outcome in stream:
            good += outcome.ok and len(outcome.prediction.page) == 1_002
        return good

    def peak(count):
        stream = Pages().outcomes(source(count), num_threads=8, ordered=ordered)
        tracemalloc.start()
        try:
            good = asyncio.run(count_async(stream)) if form == "async" else sum(outcome.ok for outcome in stream)
            assert good == count * 9 // 10
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)
    few, many = peak(300), peak(4_000)
    assert many < few + 40_000  # 10 bytes an item; 4,000 pages are 4 MB


async def test_an_item_costs_the_same_however_many_there_are():
    async def cost(count):
        began = time.process_time()
        async for _ in Doubles().outcomes(({"x": 1} for _ in range(count)), num_threads=8):
            pass
        return (time.process_time() - began) / count

    few = min([await cost(500) for _ in range(3)])
    assert await cost(4_000) < 3 * few  # DSPy's rose 5-fold from 1,000 to 8,000


async def test_the_calls_of_all_inputs_are_one_request():
    seen = set()

    class Looks(dspex.Module):
        async def aforward(self, x):
            seen.add((id(SCOPE.get().request), SCOPE.get().patient))

    await Looks().abatch(items(*range(10)), num_threads=5)
    assert len(seen) == 1


@pytest.fixture
def read_slowly():
    """Outcomes of a program, two at a time, while a source gives no more inputs than may be ahead of the reader."""
    program, read = Doubles(), []

    def source():
        for number in range(100):
            assert number <= len(read) + 2 * 2 + 1
            yield {"x": number}

    return program.outcomes(source(), num_threads=2), read


async def test_a_slow_reader_holds_the_program_back(read_slowly):
    outcomes, read = read_slowly
    async for outcome in outcomes:
        read.append(outcome.prediction)
        await asyncio.sleep(0)
    assert read == [*range(0, 200, 2)]


def test_a_slow_plain_loop_does_too(read_slowly):
    outcomes, read = read_slowly
    for outcome in outcomes:
        read.append(outcome.prediction)
    assert read == [*range(0, 200, 2)]


async def test_leaving_the_loop_cancels_what_runs():
    ended = []

    class Waits(dspex.Module):
        async def aforward(self, x):
            try:
                if x:
                    await asyncio.Event().wait()
            finally:
                ended.append(x)

    stream = Waits().outcomes(items(0, 1, 2), num_threads=3).stream()
    async for _ in stream:
        break
    await stream.aclose()
    assert sorted(ended) == [0, 1, 2]


async def test_cancelling_who_waits_cancels_what_runs():
    entered, ended = asyncio.Event(), []

    class Waits(dspex.Module):
        async def aforward(self, x):
            try:
                entered.set()
                await asyncio.Event().wait()
            finally:
                ended.append(x)

    task = asyncio.create_task(Waits().abatch(items(1, 2)))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [1, 2]


async def test_the_context_is_that_in_which_the_stream_was_made():
    with dspex.context(lm=DummyLM([{"answer": "a"}])):
        outcomes = dspex.Predict("x -> answer").outcomes(items(1))
    assert [one.prediction.answer async for one in outcomes] == ["a"]
    gc.collect()


# Parallel


def test_parallel_runs_pairs_of_any_form_in_order(run):
    async def plus(x):
        return x + 1

    def minus(x):
        return x - 1

    pairs = [
        (Doubles(), items(5)[0]),
        (plus, {"x": 5}),
        (minus, (5,)),
        (dspex.Parallel(), [(plus, (1,)), (minus, (1,))]),
    ]
    assert run(dspex.Parallel(num_threads=2), pairs) == [10, 6, 4, [2, 0]]


def test_without_access_an_example_is_given_as_it_is(run):
    [example] = items(5)
    assert run(dspex.Parallel(access_examples=False), [(lambda given: given, example)]) == [example]


def test_failures_of_one_call_are_not_those_of_the_next(run):
    parallel, program = dspex.Parallel(return_failed_examples=True), Doubles()
    for _ in range(2):
        results, failed, errors = run(parallel, [(program, {"x": -1}), (program, {"x": 1})])
        assert results == [None, 2]
        assert failed == [{"x": -1}]
        assert [str(error) for error in errors] == ["no -1"]


def test_what_is_no_pair_is_said_before_anything_runs(run):
    program = Doubles()
    with pytest.raises(dspex.InputError, match="at 1 it was given"):
        run(dspex.Parallel(), [(program, {"x": 1}), {"x": 1}])
    assert program.most == 0


def test_no_pair_is_run_twice_however_long_it_takes(run):
    lm = DummyLM([{"answer": "a"}] * 3)
    with dspex.context(lm=lm):
        run(dspex.Parallel(timeout=0, straggler_limit=3), [(dspex.Predict("x -> answer"), {"x": 1})])
    assert len(lm.history) == 1


def test_usage_of_all_pairs_is_counted():
    lm = DummyLM([{"answer": "a"}] * 3)
    with dspex.context(lm=lm), dspex.track_usage() as usage:
        dspex.Parallel()([(dspex.Predict("x -> answer"), {"x": number}) for number in range(3)])
    assert usage.total.calls == 3


def test_what_is_no_lm_is_told_before_any_item_is_run():
    with dspex.context(lm="openai/gpt-4o-mini"), pytest.raises(dspex.ConfigurationError, match=r"Write dspex\.LM\("):
        dspex.Predict("question -> answer").batch([{"question": "2+2?"}])
