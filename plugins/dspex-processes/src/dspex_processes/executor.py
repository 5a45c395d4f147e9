"""The executor: a pool of worker processes for each loop that asks for one."""

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self

import msgspec

from dspex.plugin import Chunk, ConfigurationError, ExecutorRecord, PerLoop
from dspex_processes.pool import Options, Pool

WORKERS = "DSPEX_PROCESSES_WORKERS"


class ProcessExecutor:
    """Serves Evaluate(executor="processes") and compile(executor="processes"); `options` are those of `Options`.

    By name its workers end with the App; an object of yours you close, by `aclose` or `async with`. They end with this process in
    any case.
    """

    patience = None  # it watches its workers itself

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        given = _checked(options or {})
        workers = _default_workers() if given.workers is None else given.workers
        self._pools = PerLoop(lambda: Pool(given, workers), Pool.aclose, ends_with_loop=True)

    async def run(self, chunks: Sequence[Chunk]) -> AsyncGenerator[ExecutorRecord, None]:
        """What becomes of the chunks' tasks."""
        async with aclosing(self._pools.get().run(chunks)) as records:
            async for record in records:
                yield record

    @property
    def pids(self) -> list[int]:
        """The workers of the running loop."""
        return self._pools.get().pids

    async def aclose(self) -> None:
        """End all workers."""
        await self._pools.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()


def _checked(given: Mapping[str, Any]) -> Options:
    try:
        options = msgspec.convert(dict(given), Options)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"ProcessExecutor({dict(given)!r}): {error}.") from error
    for name in ("workers", "silence_s"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ConfigurationError(f"ProcessExecutor: {name}={value!r}: it takes a number above 0.")
    return options


def _default_workers() -> int:
    given = os.environ.get(WORKERS, "")
    if not given:
        usable = getattr(os, "sched_getaffinity", None)
        return len(usable(0)) if usable is not None else os.cpu_count() or 1
    if not given.isdigit() or int(given) < 1:
        raise ConfigurationError(f"{WORKERS}={given!r}: it takes a number from 1 on.")
    return int(given)
