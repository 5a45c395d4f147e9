"""The kit, passed by an executor in this process: what it asks for can be had without a pipe."""

from collections.abc import AsyncIterator, Sequence

import dspex
from dspex.plugin import Chunk, ExecutorRecord, PerLoop
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
