"""MontySandbox: code runs in worker processes of Monty, each for one run or session at a time."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

from pydantic_monty import Monty

from dspex.plugin import CodeTool, ConfigurationError, Output, SandboxError, SandboxLimits
from dspex_monty.session import MontySession

T = TypeVar("T")

PROCESSES = 64
WAIT_S = 60.0  # for one of the workers to be free
NONE: Mapping[str, Any] = MappingProxyType({})
LIMITS = SandboxLimits()
ABOUT = (
    "The code runs in a small Python: functions, comprehensions, f-strings, try, with, simple classes. It has no `del`, "
    "`yield`, class inheritance, decorators of classes, nor third-party packages. Modules: asyncio, base64, bisect, "
    "collections, copy, csv, dataclasses, datetime, decimal, functools, hashlib, itertools, json, math, pathlib, random, re, "
    "time, typing, unicodedata. Files can be read and not written; time.sleep returns at once."
)


class MontySandbox:
    """Runs a subset of Python in processes of Monty, up to `processes` (64) at once; started at first use.

    A session keeps its process until it ends. Raises ConfigurationError for other options.
    """

    identity = "monty"
    about = ABOUT

    def __init__(self, options: Mapping[str, Any] = NONE) -> None:
        given = dict(options)
        self._processes = given.pop("processes", PROCESSES)
        if given or not isinstance(self._processes, int) or self._processes < 1:
            raise ConfigurationError(
                f"MontySandbox takes one option, processes, a number above 0; not {dict(options)}."
            )
        self._lock = threading.Lock()
        self._pool: Monty | None = None
        self._threads: tuple[ThreadPoolExecutor, ...] = ()

    async def run(
        self,
        code: str,
        *,
        files: Mapping[str, bytes] = NONE,
        tools: Mapping[str, CodeTool] = NONE,
        limits: SandboxLimits = LIMITS,
    ) -> Output:
        """One run, in a fresh interpreter. Raises SandboxError, and what a tool raises but ToolError."""
        async with MontySession(self, files, tools, limits) as session:
            return await session.run(code)

    def session(
        self,
        *,
        files: Mapping[str, bytes] = NONE,
        tools: Mapping[str, CodeTool] = NONE,
        limits: SandboxLimits = LIMITS,
    ) -> MontySession:
        """Several runs in one interpreter, for `async with`."""
        return MontySession(self, files, tools, limits)

    # For sessions

    def pool(self) -> Monty:
        """The workers. Raises SandboxError where they cannot be started."""
        with self._lock:
            if self._pool is None:
                pool = Monty(max_processes=self._processes, checkout_timeout=WAIT_S)
                try:
                    pool.__enter__()
                except Exception as error:
                    raise SandboxError(
                        f"Monty's worker could not be started: {error}. Is pydantic-monty-runtime installed for this system?"
                    ) from error
                self._pool = pool
            return self._pool

    def begin(self, work: Callable[[], T], *, waits: bool) -> "asyncio.Future[T]":
        """Do something that blocks in a thread; `waits`: for one of the processes too.

        Monty has an async form; a process that ends soon after its last call is aborted by that one's threads (1.4.0).
        """
        with self._lock:
            if not self._threads:
                # Apart: who waits for a process must not take the thread in which another would give one back.
                names = ("dspex-monty", "dspex-monty-waits")
                self._threads = tuple(ThreadPoolExecutor(self._processes, name) for name in names)
            return asyncio.get_running_loop().run_in_executor(self._threads[waits], work)

    # Its life

    async def aclose(self) -> None:
        """End the workers; it starts anew when it is used again."""
        with self._lock:
            pool, self._pool = self._pool, None
            threads, self._threads = self._threads, ()
        if pool is not None:
            await asyncio.get_running_loop().run_in_executor(threads[0], pool.__exit__, None, None, None)
        for one in threads:
            one.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a handle on processes, not state

    def __repr__(self) -> str:
        return f"MontySandbox(processes={self._processes})"
