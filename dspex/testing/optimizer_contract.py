"""What every optimizer must do, as tests that a plugin's own test class inherits; no network, no time, no luck."""

import asyncio
import concurrent.futures
import copy
import functools
import itertools
import json
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from dspex.app.app import App
from dspex.app.current import context
from dspex.core.errors import BadRequest, BudgetExceeded, DspexError
from dspex.core.example import Example
from dspex.core.messages import LMRequest, LMResponse
from dspex.core.usage import Budget
from dspex.engine.job import Job
from dspex.engine.optimizer import Optimizer
from dspex.program.module import Module
from dspex.testing import compiled_elsewhere
from dspex.testing.doubling import Before, Doubling, Oracle, delays, examples, number, right
from dspex.testing.virtual_time import VirtualClock, simulate

HELD_FROM = 900
JOURNAL = "journal.jsonl"
HASHES = ("1", "2")
JOB_S = 60
THREADS = 8
MANY_CALLS = 32  # with 8 runs of two calls at once there is more to do after the first one
CAUSES = (
    "does it draw beside ctx.rng, look at a clock beside ctx.now, or keep something on itself, its class or its module?"
)


class Outcome(msgspec.Struct, frozen=True):
    """What a compile gave: the program, and all of its result that must not depend on timing, as bytes."""

    program: Any
    data: bytes
    model: Any

    @property
    def calls(self) -> int:
        """Calls that left."""
        return len(self.model.requests)


class OptimizerContract:
    """Subclass it as `TestMine`, at the top of a module, and give `make`; what a request other than the program's is
    answered with is `reply`'s, or a word for each output.

    `sizes` are the numbers of examples to train and to validate on, `cuts` at how many records of a journal a run is cut off
    and gone on with: once between any two kinds of records that follow each other, and else evenly spread.
    """

    sizes: Sequence[tuple[int, int]] = ((12, 8), (5, 16), (20, 3))
    cuts = 24

    def make(self, metric: Any, trainset: list[Example]) -> Optimizer:
        """The optimizer, small enough that a compile makes a few hundred calls at most; it may not need the trainset."""
        raise NotImplementedError

    def student(self) -> Module:
        """A new program to optimise, of questions such as "n=12"; what has an output `answer` should be its double."""
        return Doubling()

    def data(self, trainset: list[Example], valset: list[Example]) -> dict[str, Any]:
        """What compile is given of the data, and any argument of its own."""
        return {"trainset": trainset, "valset": valset}

    def reply(self, request: LMRequest) -> str | LMResponse | None:
        """What a model answers to a request of the optimizer's own; None: a word for each output. An LMResponse goes as it is."""
        return None

    # Running

    def compiled(
        self, folder: Path, *, before: Before | None = None, seed: int = 0, sizes: tuple[int, int] | None = None,
        metric: Any = None, **options: Any,
    ) -> Outcome:  # fmt: skip
        """A compile in virtual time, in a run folder of its own or one that it goes on with."""
        model = Oracle(self.reply, before)
        train, val = self.sizes[0] if sizes is None else sizes
        trainset, valset = examples(train), examples(val, 100)

        async def main() -> tuple[Any, bytes]:
            async with App(clock=VirtualClock()):
                with context(lm=model.lm):
                    optimizer = self.make(metric or right, trainset)
                    data = self.data(trainset, valset)
                    options_ = {"holdout": 0, "num_threads": THREADS, **options}
                    program = await optimizer.acompile(self.student(), **data, run_dir=folder, **options_)
                    return program, told(program, folder)

        (program, data), _ = simulate(main, seed)
        return Outcome(program, data, model)

    @classmethod
    @functools.cache
    def whole(cls) -> Outcome:
        """A compile that nothing disturbs; one for all tests of a class, as each gives the same."""
        with tempfile.TemporaryDirectory() as folder:
            return cls().compiled(Path(folder))

    # The contract

    def test_delays_and_concurrency_do_not_change_what_is_found(self, tmp_path: Path) -> None:
        whole = self.whole()
        for budget in (None, Budget(calls=max(1, whole.calls // 2), on_short="stop")):
            found = set()
            for seed, threads in ((0, 1), (1, 3), (2, 8), (3, 32)):
                folder = tmp_path / f"{budget is None}-{seed}"
                one = self.compiled(folder, before=delays(seed), seed=seed, num_threads=threads, budget=budget)
                assert one.model.most <= threads * len(one.program.predictors())
                found.add(one.data)
            assert len(found) == 1, f"another order of replies gave another result: {CAUSES}"
            assert budget is not None or found == {whole.data}

    def test_the_order_of_hashes_does_not_change_what_is_found(self, tmp_path: Path) -> None:
        ended = [self.elsewhere(tmp_path / seed, hashes=seed) for seed in HASHES]
        assert not any(one.returncode for one in ended), ended
        assert len({one.stdout for one in ended}) == 1, "PYTHONHASHSEED changes the result: is a set gone through?"

    def elsewhere(self, *folders: Path, hashes: str, kill_at: int = 0) -> "subprocess.CompletedProcess[str]":
        """Compiles in a process of their own, killed at that call; it prints a line of what tells each result from another."""
        return compiled_elsewhere.run(type(self), hashes, folders, kill_at)

    def test_a_run_killed_by_kill_9_pays_nothing_twice_and_ends_as_a_whole_one(self, tmp_path: Path) -> None:
        whole = self.compiled(tmp_path / "whole", before=delays(0))
        kill_at = whole.calls * 3 // 5
        if not kill_at:
            return
        killed = self.elsewhere(tmp_path / "killed", hashes=HASHES[0], kill_at=kill_at)
        assert killed.returncode == -signal.SIGKILL, killed
        # Whose module has another name there is another optimizer to a run, so it goes on where it began.
        again = self.elsewhere(tmp_path / "killed", tmp_path / "not killed", hashes=HASHES[1])
        assert not again.returncode, again
        (ended, calls), (expected, _) = (line.split() for line in again.stdout.splitlines())
        assert ended == expected, f"killed and gone on with, it ended otherwise: {CAUSES}"
        repeated = kill_at + int(calls) - whole.calls
        assert 0 < repeated <= whole.model.most, (
            f"{repeated} calls were paid twice, where {whole.model.most} run at once"
        )

    def test_a_run_goes_on_from_every_record(self, tmp_path: Path) -> None:
        whole = self.compiled(tmp_path / "whole")
        lines = (tmp_path / "whole" / JOURNAL).read_bytes().splitlines(keepends=True)
        records = [json.loads(line[9:]) for line in lines]
        finished = [record["t"] == "call" for record in records]
        begun = [record["t"] == "train" and not record.get("state") for record in records]
        assert sum(begun) == len(whole.model.trainings), "trainings that are not in the journal"
        assert sum(finished) == whole.calls, "calls that do not go through the context, and so are not in the journal"
        for cut in self.places([record["t"] for record in records]):
            folder = shutil.copytree(tmp_path / "whole", tmp_path / f"cut-{cut}")
            torn = lines[cut][: len(lines[cut]) // 2] if cut % 2 else b""
            (folder / JOURNAL).write_bytes(b"".join(lines[:cut]) + torn)
            again = self.compiled(folder)
            assert again.data == whole.data, f"cut off after record {cut}, it ended otherwise: {CAUSES}"
            assert again.calls == whole.calls - sum(finished[:cut]), f"cut off after record {cut}, it paid twice"
            left = len(whole.model.trainings) - sum(begun[:cut])
            assert len(again.model.trainings) == left, f"cut off after record {cut}, it trained twice"

    def places(self, kinds: list[str]) -> list[int]:
        """Where a journal of records of these kinds is cut off."""
        borders = {pair: place for place, pair in enumerate(itertools.pairwise(kinds), 1)}
        others = max(self.cuts - len(borders), self.cuts // 2)
        return sorted({*borders.values(), *range(1, len(kinds), max(1, len(kinds) // others))})

    def test_a_budget_of_calls_is_a_wall(self, tmp_path: Path) -> None:
        needed = self.whole().calls
        for share in range(4):
            calls = needed * share // 3
            for faults in (0.0, 0.1) if calls else (0.0,):
                folder, budget = tmp_path / f"{calls}-{faults}", Budget(calls=calls, on_short="stop")
                one = self.compiled(folder, before=delays(share, faults), budget=budget)
                assert one.calls <= calls, "calls beyond the budget"
                assert one.program.ledger.calls <= calls
                assert one.program.evidence.stopped in ("budget", "done")

    def test_the_estimate_is_never_below_what_is_paid(self, tmp_path: Path) -> None:
        for sizes in self.sizes:
            whole = self.compiled(tmp_path / f"{sizes}", sizes=sizes)
            paid = whole.program.ledger.calls
            short = tmp_path / f"{sizes}-short"
            before = recorded = Recorded()
            if not paid:
                continue
            try:
                self.compiled(short, sizes=sizes, budget=Budget(calls=paid - 1), before=before)
            except BudgetExceeded:
                assert not recorded.numbers, "refused, but only after it had begun to pay"
            else:
                raise AssertionError(f"{paid} calls were needed, and the estimate says that {paid - 1} are enough")

    def test_no_held_example_is_seen_before_the_search_has_ended(self, tmp_path: Path) -> None:
        held = examples(20, HELD_FROM)
        one = self.compiled(tmp_path / "run", holdout=held)
        numbers = {f"n={HELD_FROM + place}" for place in range(20)}
        asked = [any(number in request.messages[-1].text for number in numbers) for request in one.model.requests]
        assert asked == sorted(asked), "a held example was run while the search went on"
        shown = [message.text for request in one.model.requests for message in request.messages[:-1]]
        assert not [text for text in shown if any(number in text for number in numbers)], "a held example was shown"

    def test_a_cancelled_run_gives_the_best_so_far_and_leaves_no_task(self, tmp_path: Path) -> None:
        whole, ends = self.whole(), set()
        for at in sorted({1, whole.calls // 3, whole.calls - 1} & set(range(1, whole.calls))):
            folder = tmp_path / f"cancelled-{at}"
            model, program, status, left = self.cancelled(folder, at)
            ends.add(program.evidence.stopped)
            assert status == program.evidence.stopped, "a run that needed no further step may end as done"
            assert not left, f"tasks go on after the end: {left}"
            assert not model.in_flight
            known = [one["program"].dump_state() for one in program.candidate_programs]
            assert program.dump_state() in [self.student().dump_state(), *known], (
                "it gave a program that is neither the student nor a candidate: name each to ctx.consider"
            )
            assert self.compiled(folder).data == whole.data, f"gone on with, it ended otherwise: {CAUSES}"
        assert whole.calls < MANY_CALLS or "cancelled" in ends, "cancelled, it went on to its end: does it catch Stop?"

    def test_an_aborted_run_ends_at_once_and_can_be_gone_on_with(self, tmp_path: Path) -> None:
        whole = self.whole()
        if whole.calls < MANY_CALLS:
            return
        call = whole.calls // 2
        with suppress(asyncio.CancelledError, concurrent.futures.CancelledError):
            self.ended(tmp_path, call, Job.abort)
        begun = (tmp_path / JOURNAL).read_bytes().count(b'"t":"sent"')
        assert begun <= call + 2 * THREADS, (
            "aborted, it went on: it catches CancelledError, and does not raise it again"
        )
        assert self.compiled(tmp_path).data == whole.data, f"gone on with, it ended otherwise: {CAUSES}"

    def cancelled(self, folder: Path, call: int) -> tuple[Oracle, Any, str, list[str]]:
        """A run cancelled at that call: model, program, the job's status, and the tasks that it left."""
        return self.ended(folder, call, Job.cancel)

    def ended(self, folder: Path, call: int, end: Callable[[Job], None]) -> tuple[Oracle, Any, str, list[str]]:
        """The same of a run that is ended so."""
        jobs: list[Any] = []

        async def before(at: int, _request: LMRequest) -> None:
            await asyncio.sleep(0.1)
            if at == call:
                end(jobs[0])

        model = Oracle(self.reply, before)
        train, val = self.sizes[0]
        trainset, valset = examples(train), examples(val, 100)

        async def main() -> tuple[Any, str, list[str]]:
            async with App(clock=VirtualClock()) as app:
                with context(lm=model.lm):
                    optimizer = self.make(right, trainset)
                    data = self.data(trainset, valset)
                    jobs.append(optimizer.start(self.student(), **data, run_dir=folder, holdout=0, num_threads=THREADS))
                    program = await jobs[0]
                    await asyncio.sleep(1)
                    return program, jobs[0].status, going_on(app)

        (program, status, left), _ = simulate(main)
        return model, program, status, left

    def test_examples_that_fail_are_failures_and_not_the_end(self, tmp_path: Path) -> None:
        def picky(example: Example, prediction: Any, trace: Any = None) -> bool:
            if number(example) % 4 == 3:
                raise KeyError("label")
            return right(example, prediction, trace)

        async def faulty(_number: int, request: LMRequest) -> None:
            if re.search(r"n=\d*4\b", request.messages[-1].text):
                raise BadRequest("a fault by script")

        for place, options in enumerate(({"metric": picky}, {"before": faulty})):
            one = self.compiled(tmp_path / f"{place}", **options)  # type: ignore[arg-type]  # one of its keywords
            assert one.program.evidence.stopped == "done"

    def test_student_and_data_are_not_touched(self, tmp_path: Path) -> None:
        student, data = self.student(), {"trainset": examples(self.sizes[0][0]), "valset": examples(8, 100)}
        state, before = student.dump_state(), copy.deepcopy(data)

        async def main() -> Any:
            async with App(clock=VirtualClock()):
                with context(lm=Oracle(self.reply).lm):
                    optimizer = self.make(right, data["trainset"])
                    return await optimizer.acompile(student, **self.data(**data), run_dir=tmp_path / "run")

        program, _ = simulate(main)
        assert student.dump_state() == state, "the student was changed: make candidates of ctx.student"
        assert not getattr(student, "_compiled", False)
        assert program is not student, "the student itself was given back"
        assert program._compiled
        assert data == before, "the examples were changed: copy them"

    def test_a_saved_program_loads_into_a_new_one(self, tmp_path: Path) -> None:
        one = self.whole()
        one.program.save(tmp_path / "program.json")
        assert self.student().load(tmp_path / "program.json").dump_state() == one.program.dump_state()

    def test_wrong_arguments_are_refused_before_anything_is_made(self, tmp_path: Path) -> None:
        bare = [Example(question="n=1", answer="2")]
        whole, val = examples(12), examples(8, 100)
        for name, trainset, more in (
            ("unknown", whole, {"no_such_argument": 1}),
            ("empty", [], {}),
            ("no inputs", bare, {}),
            ("keep", whole, {"keep": "most"}),
        ):
            model = Oracle(self.reply)
            try:
                with context(lm=model.lm):
                    options: Mapping[str, Any] = {**self.data(trainset, val), **more}
                    self.make(right, trainset).compile(self.student(), **options, run_dir=tmp_path / name)
            except (DspexError, TypeError):
                assert not model.requests, name
                assert not (tmp_path / name).exists(), name
            else:
                raise AssertionError(f"{name}: accepted")

    def test_all_forms_of_compile_give_the_same(self, tmp_path: Path) -> None:
        expected = self.whole().data
        trainset, valset = examples(self.sizes[0][0]), examples(self.sizes[0][1], 100)
        with context(lm=Oracle(self.reply).lm):
            optimizer, data = self.make(right, trainset), self.data(trainset, valset)
            made = optimizer.compile(self.student(), **data, run_dir=tmp_path / "sync", holdout=0)
            job = optimizer.start(self.student(), **data, run_dir=tmp_path / "job", holdout=0)
            for form, program in (("compile", made), ("start", job.result(JOB_S))):
                assert told(program, tmp_path) == expected, f"{form} gave another program: {CAUSES}"

    def test_a_compile_leaves_nothing_to_the_next_of_the_same_optimizer(self, tmp_path: Path) -> None:
        trainset, model = examples(self.sizes[0][0]), Oracle(self.reply)

        async def main() -> list[Any]:
            async with App(clock=VirtualClock()):
                with context(lm=model.lm):
                    optimizer, made = self.make(right, trainset), []
                    for place, (train, val) in enumerate((self.sizes[-1], self.sizes[0])):
                        data = {**self.data(examples(train), examples(val, 100)), "holdout": 0, "num_threads": THREADS}
                        made.append(await optimizer.acompile(self.student(), **data, run_dir=tmp_path / f"{place}"))
                    return made

        *_, last = simulate(main)[0]
        assert told(last, tmp_path) == self.whole().data, f"after another compile it gave another program: {CAUSES}"


class Recorded:
    """Keeps the numbers of the calls that were made."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    async def __call__(self, number: int, _request: LMRequest) -> None:
        self.numbers.append(number)


def told(program: Any, folder: Path) -> bytes:
    """The program's file, and the candidates with their scores."""
    path = folder / "told.json"
    program.save(path)
    pool = [
        [one["label"], one["score"], one["subscores"], one["program"].dump_state()]
        for one in program.candidate_programs
    ]
    return path.read_bytes() + json.dumps(pool, default=str).encode()


def going_on(app: App) -> list[str]:
    """The tasks that are neither this one nor the App's own, and the jobs that it still supervises."""
    children = {row.name for row in app.tree()}
    tasks = {task.get_name(): task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    others = [
        f"{name} of {task.get_coro()!r}" for name, task in tasks.items() if name not in {*children, "supervisor:app"}
    ]
    return sorted([*others, *(name for name in children if name.startswith("job "))])
