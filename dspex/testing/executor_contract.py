"""What every executor must do, as tests that a plugin's own test class inherits; no network, and no model but a scripted one."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dspex.app.accounting import budget
from dspex.app.app import App
from dspex.app.current import context
from dspex.app.lm import LM
from dspex.core.errors import BudgetExceeded
from dspex.core.example import Example
from dspex.core.usage import Budget, Usage
from dspex.evaluate.evaluate import Evaluate, EvaluationResult
from dspex.evaluate.parcels import artifact_of
from dspex.plugin.contracts import Executor
from dspex.plugin.executors import Artifact, CallRecord, Chunk, ChunkSettings, ExecutorRecord, RolloutRecord, Task
from dspex.plugin.spec import Spec
from dspex.program.module import Module
from dspex.runtime.journal import Journal
from dspex.runtime.records import Beat, Call, Mark, Sent, Step
from dspex.testing import errands
from dspex.testing.errands import Acts, Chained, Climbs, Doubles, acts, ended, notes, questions, right
from dspex.testing.one_plugin import manager_of

KEY = "sk-contract-0123456789"
THREADS = 8
EVERY = 1_000  # failures that an evaluation goes on with


class ExecutorContract:
    """Subclass it as `TestMine`, and give `make`. `dies`: its workers are processes of their own, which a program may take with it."""

    dies = True
    limit_s = 50.0  # for each test

    def make(self) -> Executor:
        """An executor, not used before."""
        raise NotImplementedError

    def live(self, work: Callable[[Any], Awaitable[None]]) -> None:
        """Run `work(executor)` on a loop with an App of its own, and close the executor; no task is left."""

        async def life() -> None:
            executor = self.make()
            try:
                async with asyncio.timeout(self.limit_s), App(cache=False):
                    await work(executor)
            finally:
                await getattr(executor, "aclose", _nothing)()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks go on after the end: {left}"

        asyncio.run(life())

    # Evaluate

    def test_an_evaluation_gives_what_it_gives_here(self) -> None:
        async def work(executor: Any) -> None:
            devset = questions(40)
            here = await Evaluate(devset, right).acall(Doubles())
            there = await Evaluate(devset, right).acall(Doubles(), executor=executor)
            assert (there.score, there.usage) == (here.score, here.usage)
            assert [row.prediction.answer for row in there.rows] == [row.prediction.answer for row in here.rows]
            assert 0 < there.score < 100

        self.live(work)

    def test_errors_are_data_and_their_examples_alone_fail(self) -> None:
        async def work(executor: Any) -> None:
            told = acts(("echo", "a"), ("raise", "b"), ("refuse", "c"), ("exit", "d"), ("odd", "e"), ("echo", "f"))
            result = await evaluated(executor, told)
            assert [row.ok for row in result.rows] == [True, False, False, False, False, True]
            last = [(row.error or "").partition("\nIn a worker:")[0].splitlines()[-1] for row in result.failures]
            assert ["ValueError: b" in last[0], "BadRequest: c" in last[1], "SystemExit: d" in last[2]] == [True] * 3
            assert "'value' cannot be sent between processes" in last[3]
            assert "in _raise" in (result.failures[0].error or ""), "the worker's traceback is not shown"
            unread = await Evaluate([Example(question="n=13", answer=26).with_inputs("question")], right).acall(
                Doubles(), executor=executor
            )
            assert "AdapterParseError" in (unread.failures[0].error or "")

        self.live(work)

    def test_what_programs_give_comes_through_whole(self) -> None:
        async def work(executor: Any) -> None:
            large = "ü\n\x00" * 300_000
            result = await evaluated(executor, acts(("echo", large), ("bare", "x"), ("print", "between frames")))
            assert [row.ok for row in result.rows] == [True] * 3
            assert result.rows[0].prediction.value == large
            assert result.rows[1].prediction == "x"
            assert result.rows[2].prediction.value == "between frames"

        self.live(work)

    def test_a_budget_is_a_wall(self, tmp_path: Path) -> None:
        async def work(executor: Any) -> None:
            for limit in (1, 7):
                log = tmp_path / f"calls-{limit}"
                with budget(calls=limit):
                    running = Evaluate(questions(30, log), right).acall(Doubles(), executor=executor)
                    (met,) = await asyncio.gather(running, return_exceptions=True)
                assert isinstance(met, BudgetExceeded), "30 calls within a smaller budget"
                assert (met.unit, met.limit) == ("calls", limit)
                assert len(notes(log)) == limit, "another number of calls than the budget allows"
            log = tmp_path / "steps"
            chained = [Example(question=f"n={n} in {log}", steps=6).with_inputs("question", "steps") for n in (1, 2)]
            with budget(calls=9):
                running = Evaluate(chained, ended).acall(Chained(), executor=executor)
                (met,) = await asyncio.gather(running, return_exceptions=True)
            assert isinstance(met, BudgetExceeded), "12 calls within a smaller budget"
            assert len(notes(log)) <= 9, "more calls than the budget allows"

        self.live(work)

    def test_one_evaluation_beside_another_on_other_loops(self) -> None:
        executor, scores = self.make(), []

        def one() -> None:
            async def life() -> None:
                async with asyncio.timeout(self.limit_s), App(cache=False):
                    scores.append((await Evaluate(questions(20), right).acall(Doubles(), executor=executor)).score)

            asyncio.run(life())

        threads = [threading.Thread(target=one) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asyncio.run(getattr(executor, "aclose", _nothing)())
        assert len(scores) == 3
        assert len(set(scores)) == 1

    # Ending

    def test_a_cancelled_evaluation_ends_what_runs_elsewhere_too(self, tmp_path: Path) -> None:
        async def work(executor: Any) -> None:
            log = tmp_path / "waiting"
            task = asyncio.create_task(evaluated(executor, acts(*[("wait", log)] * 4)))
            await until(lambda: bool(notes(log)))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            await until(lambda: 2 * notes(log).count("ended") == len(notes(log)))
            assert (await evaluated(executor, acts(("echo", "a")))).score == 100

        self.live(work)

    def test_a_reader_that_leaves_ends_what_runs_elsewhere_too(self, tmp_path: Path) -> None:
        async def work(executor: Any) -> None:
            log = tmp_path / "waiting"
            rows = Evaluate(acts(("echo", "a"), ("wait", log)), ended).stream(Acts(), executor=executor)
            assert (await anext(rows)).ok
            await until(lambda: bool(notes(log)))
            await rows.aclose()
            await until(lambda: "ended" in notes(log))

        self.live(work)

    def test_closing_ends_all_processes(self, tmp_path: Path) -> None:
        if not self.dies:
            return
        log, executor = tmp_path / "waiting", self.make()

        async def work() -> None:
            task = asyncio.create_task(evaluated(executor, acts(*[("wait", log)] * 4)))
            await until(lambda: bool(notes(log)))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await executor.aclose()  # type: ignore[attr-defined]  # optional

        asyncio.run(work())
        pids = {int(line) for line in notes(log) if line.isdigit()}
        assert os.getpid() not in pids
        assert not [pid for pid in pids if _lives(pid)]

    def test_a_worker_that_dies_costs_no_example(self, tmp_path: Path) -> None:
        if not self.dies:
            return

        async def work(executor: Any) -> None:
            once = tmp_path / "once"
            told = acts(*[("echo", str(n)) for n in range(12)], ("die_once", once), *[("echo", "x")] * 12)
            result = await evaluated(executor, told)
            assert [row.ok for row in result.rows] == [True] * 25, [row.error for row in result.failures]
            assert notes(once) == ["died", "lived"]

        self.live(work)

    def test_an_example_that_workers_die_of_fails_alone(self, tmp_path: Path) -> None:
        if not self.dies:
            return

        async def work(executor: Any) -> None:
            log = tmp_path / "deaths"
            told = acts(*[("echo", str(n)) for n in range(6)], ("die", log), *[("echo", "x")] * 6)
            result = await evaluated(executor, told)
            assert [row.index for row in result.failures] == [6], [row.error for row in result.failures]
            assert "WorkerLost" in (result.failures[0].error or "")
            assert notes(log) == ["died"] * 3
            assert (await evaluated(executor, acts(("echo", "a")))).score == 100

        self.live(work)

    # Chunks, calls and leases

    def test_each_call_is_told_as_it_leaves_and_as_it_ends(self) -> None:
        async def work(executor: Any) -> None:
            tasks = tuple(Task(f"task {n}", f"step {n}", {"question": f"n={n}", "steps": 2}) for n in (1, 2, 3))
            records = await taken(executor, [chunk(Chained(), *tasks)])
            for task in tasks:
                own = [record for record in records if record.task == task.key]
                assert isinstance(own[-1], RolloutRecord), "a record after the rollout"
                assert own[-1].state == "done", own[-1].fault
                assert own[-1].usage == Usage(200, 10, calls=2)
                told = [(record.key, record.is_done) for record in own[:-1] if isinstance(record, CallRecord)]
                assert [is_done for _, is_done in told] == [False, True, False, True]
                assert told[0][0] == told[1][0] != told[2][0] == told[3][0]
                assert _paid(own) == 2
            for record in records:
                assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record

        self.live(work)

    def test_known_calls_are_not_made_again(self, tmp_path: Path) -> None:
        async def work(executor: Any) -> None:
            log = tmp_path / "calls"
            task = Task("a", "step", {"question": f"n=4 in {log}", "steps": 3})
            first = await taken(executor, [chunk(Chained(), task)])
            known = [one for one in first if isinstance(one, CallRecord) and one.is_done]
            assert len(notes(log)) == len(known) == 3
            again = msgspec.structs.replace(task, key="b", known=tuple(known[:2]))
            second = await taken(executor, [chunk(Chained(), again)])
            assert len(notes(log)) == 4
            assert [one.key for one in second if isinstance(one, CallRecord)] == [known[2].key] * 2
            done, before = second[-1], first[-1]
            assert isinstance(done, RolloutRecord)
            assert isinstance(before, RolloutRecord)
            assert (done.outputs, done.usage) == (before.outputs, before.usage)

        self.live(work)

    def test_a_lease_is_never_passed(self, tmp_path: Path) -> None:
        async def work(executor: Any) -> None:
            log = tmp_path / "calls"
            given = {"question": f"n=4 in {log}", "steps": 5}
            short = await taken(executor, [chunk(Chained(), Task("a", "s", given, lease=Budget(calls=3)))])
            rollout = short[-1]
            assert isinstance(rollout, RolloutRecord)
            assert rollout.fault is not None
            assert (rollout.state, rollout.fault.is_short) == ("failed", True)
            assert rollout.spent is not None
            assert (rollout.spent.calls, len(notes(log))) == (3, 3)
            long = await taken(executor, [chunk(Chained(), Task("b", "s", given, lease=Budget(calls=5)))])
            assert isinstance(long[-1], RolloutRecord)
            assert long[-1].state == "done"

        self.live(work)

    def test_a_program_is_imported_only_where_it_is_allowed(self) -> None:
        async def work(executor: Any) -> None:
            artifact = artifact_of(Doubles())
            task = Task("a", "s", {"question": "n=1"})
            assert artifact.allow == ("dspex.testing.errands",)
            for bad in (Artifact("1", artifact.file), Artifact("2", "no JSON"), Artifact("3", '{"metadata": 1}')):
                *calls, record = await taken(executor, [Chunk(bad, ChunkSettings(), (task,))])
                assert not calls, "it was run"
                assert isinstance(record, RolloutRecord)
                assert record.fault is not None
                assert record.fault.family == "ProgramFileError"

        self.live(work)

    def test_no_key_is_in_anything_that_is_sent(self) -> None:
        async def work(executor: Any) -> None:
            spy = Spy(executor)
            plugins = manager_of("acme", lm_providers=lambda: [Spec("acme", lambda _endpoint, _http: errands.Noted())])
            async with App(cache=False, plugins=plugins):
                with context(lm=LM("acme/model", api_key=KEY, temperature=0.5)):
                    await Evaluate(questions(5), right).acall(Doubles(), executor=spy)
            text = msgspec.json.encode(spy.chunks).decode()
            assert KEY not in text
            assert '"model":"acme/model"' in text
            assert '"answer":8' not in text, "labels stay where the metric is"

        self.live(work)

    # Compile

    def test_a_compile_finds_and_pays_what_it_does_here(self, tmp_path: Path) -> None:
        async def work(executor: Any) -> None:
            log = tmp_path / "calls"
            for name, wall in (("whole", None), ("short", Budget(calls=30, on_short="stop"))):
                here = await compiled(tmp_path / f"{name} here", log, budget=wall)
                before = len(notes(log))
                there = await compiled(tmp_path / f"{name} there", log, budget=wall, executor=executor)
                assert _told(there) == _told(here)
                assert len(notes(log)) - before == there.ledger.paid
                assert wall is None or there.ledger.paid <= (wall.calls or 0)

        self.live(work)

    def test_the_journal_of_a_compile_is_that_of_one_here(self, tmp_path: Path) -> None:
        async def work(executor: Any) -> None:
            log = tmp_path / "calls"
            await compiled(tmp_path / "here", log)
            await compiled(tmp_path / "there", log, executor=executor)
            assert lines(tmp_path / "there") == lines(tmp_path / "here")

        self.live(work)

    def test_a_compile_goes_on_anywhere_and_repeats_no_call(self, tmp_path: Path) -> None:
        async def work(executor: Any) -> None:
            log = tmp_path / "calls"
            whole = await compiled(tmp_path / "whole", log)
            for place, (first, second) in enumerate([(executor, executor), (executor, None), (None, executor)]):
                folder, before = tmp_path / f"run {place}", len(notes(log))
                job = begun(folder, log, executor=first)
                await until(lambda least=before + 20: len(notes(log)) >= least)  # type: ignore[misc]  # a default
                job.abort()
                await asyncio.gather(_waited(job), return_exceptions=True)
                again = await compiled(folder, log, executor=second)
                assert again.dump_state() == whole.dump_state()
                assert again.ledger.calls == whole.ledger.calls
                assert again.ledger.reused + again.ledger.paid == whole.ledger.paid
                # Calls that had left when it was ended, told or not, are made again.
                assert len(notes(log)) - before <= whole.ledger.paid + THREADS

        self.live(work)


class Spy:
    """An executor that keeps what it is given."""

    def __init__(self, executor: Any) -> None:
        self.chunks: list[Chunk] = []
        self.patience = getattr(executor, "patience", None)
        self._executor = executor

    async def run(self, chunks: Sequence[Chunk]) -> Any:
        self.chunks += chunks
        async for record in self._executor.run(chunks):
            yield record


async def evaluated(executor: Any, devset: list[Example]) -> EvaluationResult:
    """Acts, evaluated there."""
    return await Evaluate(devset, ended, max_errors=EVERY).acall(Acts(), executor=executor)


def begun(folder: Path, log: Path, **options: Any) -> Any:
    """A small compile, under way; each of its calls is noted."""
    trainset, valset = questions(16, log), questions(12, log, 100)
    return Climbs(right).start(
        Doubles(), trainset=trainset, valset=valset, holdout=0, num_threads=THREADS, run_dir=folder, **options
    )


async def compiled(folder: Path, log: Path, **options: Any) -> Any:
    """The same, waited for."""
    return await begun(folder, log, **options)


def lines(folder: Path) -> list[Any]:
    """What a journal says, whatever the order of what ran side by side and the time that it took."""
    journal = Journal(folder)
    try:
        records = [one for one in journal.records if not isinstance(one, Beat | Mark)]
    finally:
        journal.close()
    told = []
    for record in records[1:]:
        if isinstance(record, Call):
            told.append(["call", record.key, record.step, msgspec.to_builtins(record.reply), record.attempts])
        elif isinstance(record, Step):
            told.append(["step", record.key, record.kind, msgspec.json.decode(record.value)])
        else:
            told.append(["sent", record.key] if isinstance(record, Sent) else [type(record).__name__])
    return sorted(told, key=repr)


def chunk(program: Module, *tasks: Task) -> Chunk:
    """A chunk of these tasks."""
    return Chunk(artifact_of(program), ChunkSettings(), tasks)


async def taken(executor: Any, chunks: Sequence[Chunk]) -> list[ExecutorRecord]:
    """All that an executor says of these chunks."""
    return [record async for record in executor.run(chunks)]


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another process does, which tells no event."""
    while not holds():  # noqa: ASYNC110  as the docstring says
        await asyncio.sleep(0.01)


def _told(program: Any) -> Any:
    evidence = {name: value for name, value in msgspec.to_builtins(program.evidence).items() if name != "journal"}
    return [program.dump_state(), evidence, program.ledger.calls, program.ledger.tokens, program.ledger.paid]


def _paid(records: Sequence[ExecutorRecord]) -> int:
    return sum(usage.calls for record in records for usage in record.paid.values())


async def _waited(job: Any) -> Any:
    return await job


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def _nothing() -> None:
    """There is nothing to close."""
