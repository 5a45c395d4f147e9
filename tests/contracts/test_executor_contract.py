"""The kit, passed by an executor in this process, and failed by those that break the contract."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest

import dspex
from dspex.plugin import CallRecord, Chunk, ExecutorRecord, PerLoop, RolloutRecord
from dspex.testing import ExecutorContract


class Inside:
    """Works chunks one after another, on the loop that asks."""

    def __init__(self) -> None:
        self._places = PerLoop(dspex.Workplace, dspex.Workplace.aclose)

    async def run(self, chunks: Sequence[Chunk]) -> AsyncIterator[ExecutorRecord]:
        for chunk in chunks:
            records = self._places.get().run(chunk)
            try:
                async for record in records:
                    yield record
            finally:
                await records.aclose()

    async def aclose(self) -> None:
        await self._places.aclose()


class TestInside(ExecutorContract):
    dies = False

    def make(self) -> Inside:
        return Inside()


class Forgiving(Inside):
    """Says that all went well."""

    async def run(self, chunks):
        async for record in super().run(chunks):
            yield (
                msgspec.structs.replace(record, state="done", fault=None)
                if isinstance(record, RolloutRecord)
                else record
            )


def without(**changes):
    """An executor that does not hand on what a task has."""

    class Careless(Inside):
        async def run(self, chunks):
            def changed(task):
                return msgspec.structs.replace(task, **changes)

            kept = [msgspec.structs.replace(one, tasks=tuple(map(changed, one.tasks))) for one in chunks]
            async for record in super().run(kept):
                yield record

    return Careless


class Trusting(Inside):
    """Imports whatever a program names."""

    async def run(self, chunks):
        everything = [
            msgspec.structs.replace(one, program=msgspec.structs.replace(one.program, allow=("dspex",)))
            for one in chunks
        ]
        async for record in super().run(everything):
            yield record


class Silent(Inside):
    """Tells of no call."""

    async def run(self, chunks):
        async for record in super().run(chunks):
            if not isinstance(record, CallRecord):
                yield record


class Late(Inside):
    """Tells of calls once they have ended."""

    async def run(self, chunks):
        async for record in super().run(chunks):
            if not isinstance(record, CallRecord) or record.is_done:
                yield record


class Deaf(Inside):
    """Goes on when nobody reads any more."""

    def __init__(self):
        super().__init__()
        self.going = set()

    async def run(self, chunks):
        records = asyncio.Queue()

        async def work():
            async for record in super(Deaf, self).run(chunks):
                records.put_nowait(record)

        self.going.add(asyncio.create_task(work()))
        for _ in [task for chunk in chunks for task in chunk.tasks]:
            record = await records.get()
            while not isinstance(record, RolloutRecord):
                yield record
                record = await records.get()
            yield record

    async def aclose(self):
        for task in self.going:
            task.cancel()
        await asyncio.gather(*self.going, return_exceptions=True)
        await super().aclose()


@pytest.mark.parametrize(
    ("executor", "test"),
    [
        (Forgiving, ExecutorContract.test_errors_are_data_and_their_examples_alone_fail),
        (without(lease=None), ExecutorContract.test_a_lease_is_never_passed),
        (without(lease=None), ExecutorContract.test_a_budget_is_a_wall),
        (without(known=()), ExecutorContract.test_known_calls_are_not_made_again),
        (Trusting, ExecutorContract.test_a_program_is_imported_only_where_it_is_allowed),
        (Silent, ExecutorContract.test_each_call_is_told_as_it_leaves_and_as_it_ends),
        (Silent, ExecutorContract.test_the_journal_of_a_compile_is_that_of_one_here),
        (Late, ExecutorContract.test_each_call_is_told_as_it_leaves_and_as_it_ends),
        (Deaf, ExecutorContract.test_a_cancelled_evaluation_ends_what_runs_elsewhere_too),
        (Deaf, ExecutorContract.test_a_reader_that_leaves_ends_what_runs_elsewhere_too),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_an_executor_that_breaks_the_contract_does_not_pass(executor, test, tmp_path):
    class Broken(ExecutorContract):
        dies = False
        limit_s = 2.0

        def make(self):
            return executor()

    given = (tmp_path,) if test.__code__.co_argcount > 1 else ()
    with pytest.raises((AssertionError, TimeoutError, dspex.ExecutorFailed)):
        test(Broken(), *given)
