"""An evaluation whose runs are made elsewhere, by executors that keep to their contract and by others that do not."""

import asyncio
import datetime
import enum

import msgspec
import pytest

import dspex
from dspex.app.sent_lm import lm_as_data, lm_of_data
from dspex.core.errors import ConfigurationError, ExecutorFailed
from dspex.evaluate.dispatch import chunk_size
from dspex.evaluate.parcels import artifact_of, check_made_again, packed, program_of_artifact, unpacked
from dspex.plugin import CallRecord, Chunk, Fault, RolloutRecord
from dspex.testing import DummyLM
from dspex.testing.errands import Acts, Chained, Doubles, Noted, acts, ended, notes, questions, right
from dspex.testing.one_plugin import manager_of


class Honest:
    """Works chunks in this process; `change` is given each chunk's records and gives what is said of them."""

    patience = 5.0

    def __init__(self, change=lambda records: records):
        self.change = change
        self.chunks = []
        self.place = dspex.Workplace()

    async def run(self, chunks):
        self.chunks += chunks
        for chunk in chunks:
            for record in self.change([record async for record in self.place.run(chunk)]):
                yield record

    @property
    def tasks(self):
        return [task for chunk in self.chunks for task in chunk.tasks]


@pytest.fixture
async def evaluated(own_app):
    """Evaluates a program by an executor; its App ends with the test."""
    made = []

    async def evaluated(executor, program=None, devset=None, metric=right, **options):
        made.append(executor)
        evaluate = dspex.Evaluate(questions(20) if devset is None else devset, metric, **options)
        return await evaluate.acall(Doubles() if program is None else program, executor=executor)

    yield evaluated
    for executor in made:
        if hasattr(executor, "place"):
            await executor.place.aclose()


class Colour(enum.Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: int
    name: str


class Odd(dspex.Module):
    """Takes and gives a date, and what JSON has no form of its own for."""

    def __init__(self):
        super().__init__()
        self.read = dspex.Predict(
            "day: datetime.date, pair: tuple[int, int] -> next: datetime.date, more: tuple[int, int]"
        )

    async def aforward(self, day, pair):
        return dspex.Prediction(next=day + datetime.timedelta(pair[0]), more=(pair[1], pair[0]), bare={1: 2})


# In any order, twice, in part


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [lambda records: records[::-1], lambda records: [one for record in records for one in (record, record)]],
    ids=["backwards", "twice"],
)
async def test_the_order_of_records_and_saying_them_twice_change_nothing(evaluated, change):
    here = await dspex.Evaluate(questions(200), right).acall(Doubles())
    with dspex.track_usage() as usage:
        there = await evaluated(Honest(change), devset=questions(200))
    assert [row.score for row in there.rows] == [row.score for row in here.rows]
    if change([1, 2]) == [1, 1, 2, 2]:
        assert there.usage == here.usage == usage.total


async def test_what_an_executor_does_not_speak_of_is_given_out_again_and_the_rest_is_not(evaluated):
    silent = {"2", "10"}

    def change(records):
        return [one for one in records if not (isinstance(one, RolloutRecord) and one.task in silent)]

    executor = Honest(change)
    result = await evaluated(executor, num_threads=20)
    assert result.failures == []
    assert len(executor.tasks) == 22
    again = [task for task in executor.tasks if task.attempt > 1]
    assert [(task.attempt, len(task.known)) for task in again] == [(2, 1)] * 2, "finished calls go along"
    assert all(len(chunk.tasks) == 1 for chunk in executor.chunks[-2:])


@pytest.mark.fault("P21")
async def test_an_example_that_is_lost_each_time_fails_and_no_other(evaluated, tmp_path):
    def change(records):
        rollout = records[-1]
        if rollout.outputs.get("value") != "3":
            return records
        return [RolloutRecord(rollout.task, "lost", fault=Fault("x.Died", "it ended with status -9"))]

    executor = Honest(change)
    result = await evaluated(executor, Acts(), acts(*[("echo", n) for n in range(6)]), ended)
    assert [row.index for row in result.failures] == [3]
    assert (
        "WorkerLost: 3 workers of the executor 'Honest' died before this example was done" in result.failures[0].error
    )
    assert "it ended with status -9" in result.failures[0].error
    assert len(executor.tasks) == 8


# Executors that break their contract


class Junk(Honest):
    """Says something else after some good records."""

    def __init__(self, junk):
        super().__init__()
        self.junk = junk

    async def run(self, chunks):
        async for record in super().run(chunks[:1]):
            yield record
        yield self.junk


class Failing(Honest):
    async def run(self, chunks):
        async for record in super().run(chunks[:3]):
            yield record
        raise ConnectionError("the cluster is gone")


class Exiting:
    async def run(self, chunks):
        raise SystemExit(3)
        yield


class Stuck:
    patience = 0.05

    async def run(self, chunks):
        await asyncio.Event().wait()
        yield


class Listing:
    def run(self, chunks):
        return []


class Returning:
    async def run(self, chunks):
        return []


class Cancelling:
    async def run(self, chunks):
        raise asyncio.CancelledError
        yield


@pytest.mark.fault("P22")
@pytest.mark.parametrize(
    ("executor", "why"),
    [
        (lambda: Junk("text"), "'Junk' failed: TypeError: it gave 'text', which is neither"),
        (lambda: Junk(None), "it gave None, which is neither"),
        (lambda: Junk(RolloutRecord("77", "done")), "a record of a task that it was not given, '77'"),
        (lambda: Junk(CallRecord("77", "key")), "a record of a task that it was not given"),
        (
            lambda: Junk(RolloutRecord("2", "done", outputs=7)),
            "a RolloutRecord that is damaged: Expected `object`, got `int`",
        ),
        (lambda: Junk(RolloutRecord("2", "well")), "damaged: Invalid enum value 'well'"),
        (lambda: Junk(CallRecord("2", "key", reply="4")), "a CallRecord that is damaged"),
        (Failing, "'Failing' failed: ConnectionError: the cluster is gone. What was finished is kept"),
        (Exiting, "'Exiting' failed: SystemExit: 3"),
        (Stuck, "'Stuck' has said nothing for 0.05 s"),
        (Listing, "`run` has to be an async generator"),
        (Returning, "`run` has to be an async generator"),
        (Cancelling, "'Cancelling' failed: CancelledError"),
    ],
)
async def test_an_executor_that_breaks_its_contract_ends_the_evaluation_with_its_name(evaluated, executor, why):
    with pytest.raises(ExecutorFailed, match=why.replace("(", r"\(")) as caught:
        await evaluated(executor(), num_threads=20)
    assert caught.value.plugin
    assert all(score in (0, 1) for _, _, score in caught.value.results)


@pytest.mark.fault("P22")
async def test_what_was_finished_before_an_executor_failed_is_not_run_again(evaluated, tmp_path):
    log = tmp_path / "calls"
    with pytest.raises(ExecutorFailed) as caught:
        await evaluated(Failing(), devset=questions(20, log), run_dir=tmp_path / "run", num_threads=20)
    assert len(caught.value.results) == 3
    executor = Honest()
    result = await evaluated(executor, devset=questions(20, log), run_dir=tmp_path / "run")
    assert len(result.rows) == 20
    assert len(executor.tasks) == 17
    assert len(notes(log)) == 20


# Budgets


async def test_a_run_that_needs_more_than_its_lease_goes_on_and_pays_nothing_twice(evaluated, tmp_path):
    log = tmp_path / "calls"
    devset = [dspex.Example(question=f"n={n} in {log}", steps=5).with_inputs("question", "steps") for n in range(6)]
    executor = Honest()
    with dspex.budget(calls=100, tokens=100_000) as around, dspex.track_usage() as usage:
        result = await evaluated(executor, Chained(), devset, ended)
    assert result.failures == []
    assert (len(notes(log)), around.spent.calls, usage.total.calls) == (30, 30, 30)
    assert around.spent.tokens == usage.total.total_tokens == 30 * 105
    assert around.left.calls == 70, "a lease was not given back"
    assert len(executor.tasks) > 6


async def test_without_a_budget_there_is_no_lease(evaluated):
    executor = Honest()
    await evaluated(executor)
    assert {task.lease for task in executor.tasks} == {None}


@pytest.mark.parametrize("limit", [{"tokens": 2_000}, {"usd": 0.01}, {"calls": 9}], ids=str)
async def test_each_unit_of_a_budget_is_a_wall(evaluated, limit, tmp_path):
    log = tmp_path / "calls"
    dspex.configure(prices={"errands/noted": (10.0, 10.0)})
    with dspex.budget(**limit) as around, pytest.raises(dspex.BudgetExceeded):
        await evaluated(Honest(), devset=questions(30, log))
    spent = around.spent
    assert spent.calls == len(notes(log)) < 30
    for unit, most in limit.items():
        assert getattr(spent, unit) <= most


async def test_a_deadline_ends_what_runs_elsewhere(evaluated, tmp_path):
    log, executor = tmp_path / "waiting", Honest()
    with pytest.raises(dspex.DeadlineExceeded), dspex.deadline(0.3):
        await evaluated(executor, Acts(), acts(("wait", log)), ended)
    assert notes(log)[1:] == ["ended"]


# What goes out


async def test_values_that_are_more_than_json_come_back_as_what_they_were(evaluated):
    executor = Honest()
    day = datetime.date(2026, 5, 4)
    example = dspex.Example(day=day, pair=(2, 3)).with_inputs("day", "pair")
    result = await evaluated(executor, Odd(), [example], ended)
    (row,) = result.rows
    assert row.ok, row.error
    assert (row.prediction.next, row.prediction.more) == (datetime.date(2026, 5, 6), (3, 2))
    assert row.prediction.bare == {"1": 2}, "what no field can read is JSON data"
    chunk = msgspec.json.decode(msgspec.json.encode(executor.chunks[0]), type=Chunk)
    assert chunk == executor.chunks[0]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (dspex.Image, dspex.Image("https://there/a.png")),
        (dspex.Audio, dspex.Audio("AAAA", "wav")),
        (dspex.History, dspex.History([{"question": "a", "answer": "b"}])),
        (dspex.Code, dspex.Code("x = 1")),
        (Colour, Colour.RED),
        (set[int], {1, 2}),
        (list[Point], [Point(1, "a")]),
        (datetime.datetime, datetime.datetime(2026, 1, 2, 3)),  # noqa: DTZ001  that is what is given
        (bytes, b"abc"),
        (float, 0.1),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_an_input_of_any_type_that_a_field_has_is_made_again(kind, value):
    fields = {"value": (kind, dspex.InputField()), "answer": (str, dspex.OutputField())}
    program = dspex.Predict(dspex.make_signature(fields))
    data, typed = packed({"value": value}, program, is_strict=True)
    made = unpacked(msgspec.json.decode(msgspec.json.encode(data)), typed, program)
    assert made == {"value": value}
    assert type(made["value"]) is type(value)


async def test_an_input_that_could_not_be_made_again_is_said(evaluated):
    example = dspex.Example(act="echo", value=frozenset({1})).with_inputs("act", "value")
    good = acts(("echo", "a"))
    result = await evaluated(Honest(), Acts(), [*good, example], ended)
    assert "The input 'value' is a frozenset" in result.failures[0].error
    with pytest.raises(dspex.InputError, match="The input 'value' is a frozenset"):
        await evaluated(Honest(), Acts(), [example], ended)


@pytest.mark.parametrize(("examples", "size"), [(None, 1), (0, 1), (127, 1), (128, 2), (640, 10), (100_000, 16)])
def test_the_size_of_chunks_follows_from_the_size_of_the_data_alone(examples, size):
    assert chunk_size(examples) == size


async def test_a_chunk_has_no_more_tasks_than_that(evaluated):
    executor = Honest()
    await evaluated(executor, devset=questions(200), num_threads=50)
    assert max(len(chunk.tasks) for chunk in executor.chunks) == 3
    assert sum(len(chunk.tasks) for chunk in executor.chunks) == 200
    assert len({chunk.program.key for chunk in executor.chunks}) == 1


class Wanting(dspex.Module):
    def __init__(self, word):
        super().__init__()
        self.predict = dspex.Predict("question -> answer")


class Tooled(dspex.Module):
    def __init__(self, more=None):
        super().__init__()
        self.predict = dspex.Predict(more or "question -> answer")


@dspex.module
def loose(question):
    return dspex.Prediction(answer=question)


def local():
    class Local(dspex.Module):
        def forward(self, question):
            return dspex.Prediction(answer=question)

    return Local()


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (lambda: lambda question: question, "runs dspex.Modules"),
        (local, "Local is defined in a function, where a worker cannot import it"),
        (lambda: Wanting("x"), "could not make Wanting again"),
        (lambda: Tooled("question -> answer: int"), "would not make the same Tooled again"),
        (
            lambda: dspex.ReAct("question -> answer", tools=[dspex.Tool(lambda x: x, "it")]),
            "could not make ReAct again: 'it' cannot be imported: it is a lambda",
        ),
    ],
)
async def test_a_program_that_no_worker_could_make_is_refused_before_anything_is_run(evaluated, program, why):
    executor = Honest()
    with dspex.context(lm=dspex.LM("x/y")), pytest.raises(ConfigurationError, match=why):
        await evaluated(executor, program(), questions(2), num_threads=2)
    assert executor.chunks == []


class Loose(dspex.Module):
    """Needs no model, so that settings alone decide."""

    async def aforward(self, question):
        return dspex.Prediction(answer=str(dspex.settings.adapter and dspex.settings.adapter.use_json_adapter_fallback))


@pytest.mark.fault("X17")
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"lm": DummyLM([])}, "it is an object of this process"),
        ({"lm": dspex.LM("x/y", headers={"X-Key": "k"})}, "its headers may hold a key"),
        ({"lm": dspex.LM("x/y", aws_secret_access_key="k")}, "'aws_secret_access_key' looks like a key"),
        ({"lm": dspex.LM("x/y", api_base="https://me:word@there")}, "a user's name and password"),
        ({"lm": dspex.LM("x/y", dispatch="batch")}, "answered in batches"),
        ({"adapter": type("Mine", (dspex.ChatAdapter,), {})()}, "give it by name"),
    ],
    ids=["object", "headers", "secret", "address", "batch", "adapter"],
)
async def test_a_setting_that_cannot_travel_is_refused(evaluated, settings, why):
    executor = Honest()
    with dspex.context(**settings), pytest.raises(ConfigurationError, match=why):
        await evaluated(executor, Loose(), questions(2), ended, num_threads=2)
    assert executor.chunks == []


async def test_settings_that_are_data_are_those_of_the_worker_too(evaluated):
    adapter = dspex.ChatAdapter(use_json_adapter_fallback=False)
    with dspex.context(adapter=adapter, lm=dspex.Fallback(dspex.LM("x/y", temperature=0.5), dspex.LM("x/z"))):
        result = await evaluated(executor := Honest(), Loose(), questions(1), ended, num_threads=1)
    assert result.rows[0].prediction.answer == "False"
    first, second = executor.chunks[0].settings.lm["fallback"]
    assert (first["model"], first["kwargs"], second["model"]) == ("x/y", {"temperature": 0.5}, "x/z")


@pytest.mark.fault("X17")
async def test_no_key_is_in_what_goes_out_and_no_label(evaluated):
    acme = dspex.Spec("acme", lambda endpoint, http: Noted())
    executor, key = Honest(), "sk-never-away-0123"
    async with dspex.App(cache=False, plugins=manager_of("acme", lm_providers=lambda: [acme])):
        lm = dspex.LM("acme/model", api_key=key, api_base="https://there", temperature=0.5)
        with dspex.context(lm=lm):
            await evaluated(executor, devset=questions(5))
    sent = msgspec.json.encode(executor.chunks).decode()
    assert key not in sent
    assert '"answer":8' not in sent
    assert executor.chunks[0].settings.lm["api_base"] == "https://there"


@pytest.mark.parametrize(
    "lm",
    [
        lambda: dspex.LM("x/y"),
        lambda: dspex.LM("x/y", "responses", 0.5, 100, cache=False, num_retries=0, timeout=7, hedge_after=2.0),
        lambda: dspex.LM(
            "x/y", api_base="http://there", max_in_flight=3, requests_per_minute=60, breaker=False, stop=["a"]
        ),
        lambda: dspex.LM("x/y", api_base="http://there", api_key=""),
        lambda: dspex.LM("x/y", breaker=dspex.BreakerPolicy(least=5), http_limits=dspex.HttpLimits(idle_s=3)),
        lambda: dspex.Fallback(dspex.LM("x/y"), dspex.LM("x/z", temperature=1.0)),
    ],
    ids=["plain", "how", "where", "keyless", "terms", "fallback"],
)
def test_an_lm_that_has_travelled_is_the_same(lm):
    def told(one):
        return (
            [told(each) for each in one.lms]
            if isinstance(one, dspex.Fallback)
            else {name: value for name, value in vars(one).items() if name not in ("_history", "callbacks")}
        )

    data = msgspec.json.decode(msgspec.json.encode(lm_as_data(lm())))
    assert told(lm_of_data(data)) == told(lm())


async def test_a_cassette_is_refused_as_it_would_hear_nothing(evaluated, tmp_path):
    with dspex.cassette(tmp_path / "tape"), pytest.raises(ConfigurationError, match="A cassette hears"):
        await evaluated(Honest())


@pytest.mark.parametrize("executor", ["dask", 7, Honest], ids=str)
async def test_what_is_no_executor_is_refused(evaluated, executor):
    with pytest.raises(ConfigurationError, match="executor="):
        await evaluated(executor)


def shout(text: str) -> str:
    """Says it louder."""
    return text.upper()


def test_an_agent_goes_to_a_worker_with_the_tools_that_can_be_imported():
    agent = dspex.BestOfN(dspex.ReAct("question -> answer", [dspex.Tool(shout, timeout_s=3)]), 2, shout, None)
    artifact = artifact_of(agent)
    assert artifact.allow == (__name__,)
    check_made_again(agent, artifact)
    assert program_of_artifact(artifact).module.tools["shout"].func is shout
