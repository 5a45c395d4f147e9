"""Pieces of code in one of Monty's workers."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import pydantic_monty
from pydantic_monty import FunctionSnapshot, MontyComplete, MontyCrashedError, MontyError, ResourceLimits

from dspex.plugin import CodeTool, Output, SandboxError, SandboxLimits, ToolError
from dspex_monty.files import reader
from dspex_monty.values import bounded, cut

T = TypeVar("T")

FORM = f"monty {version('pydantic-monty')}\n".encode()  # other versions write other forms
UNBOUNDED = 1 << 60  # suspensions; calls of tools are counted here, and calls to the system run as long as code runs


class Workers(Protocol):
    """Where sessions get their processes and threads from."""

    def pool(self) -> pydantic_monty.Monty: ...

    def begin(self, work: Callable[[], T], *, waits: bool) -> "asyncio.Future[T]": ...


class MontySession:
    """One interpreter, begun with the first piece; after a limit was met, a fresh one goes on."""

    def __init__(
        self,
        workers: Workers,
        files: Mapping[str, bytes],
        tools: Mapping[str, CodeTool],
        limits: SandboxLimits,
    ) -> None:
        self._workers = workers
        self._system = reader(files)
        self._tools = dict(tools)
        self._limits = limits
        self._inner: pydantic_monty.MontySession | None = None
        self._pid: int | None = None
        self._is_left = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._inner is not None:
            await self._workers.begin(self._drop, waits=False)

    async def run(self, code: str) -> Output:
        """Run a piece. Raises SandboxError, and what a tool raises but ToolError."""
        heard = _Heard(self._limits.output)
        try:
            value = await self._value(code, heard)
        except MontyError as error:
            text, is_lost = _told(error)
            return await self._failed(heard, text, is_lost=is_lost)
        except _TooManyCalls:
            text = f"RuntimeError: tools were called more than {self._limits.calls} times"
            return await self._failed(heard, text, is_lost=True)
        except BaseException:
            self._kill()  # it waits in the middle of a piece
            raise
        data, is_cut = bounded(value, self._limits.output)
        return Output(heard.text, data, "", heard.is_cut or is_cut)

    async def dump(self) -> bytes:
        """The variables, for `restore`. Raises SandboxError."""
        try:
            return FORM + await self._in_thread(lambda: self._inner.dump() if self._inner else b"")
        except MontyError as error:
            raise SandboxError(f"The variables cannot be written down: {error}") from error

    async def restore(self, state: bytes) -> None:
        """The variables of another session, as this Monty has written them. Raises SandboxError."""
        if self._inner is not None:
            raise SandboxError("Variables are restored before the first piece.")
        if not state.startswith(FORM):
            raise SandboxError("These variables were written by another version of Monty.")
        if len(state) > len(FORM):
            await self._in_thread(partial(self._load, state[len(FORM) :]))

    async def _value(self, code: str, heard: "_Heard") -> Any:
        calls = 0
        step = await self._in_thread(partial(self._begin, code, heard))
        while not isinstance(step, MontyComplete):
            calls += 1
            if calls > self._limits.calls:
                raise _TooManyCalls
            answer = await self._answer(step)
            step = await self._in_thread(partial(self._on, step, answer))
        return step.output

    async def _answer(self, call: FunctionSnapshot) -> Any:
        try:
            return {"return_value": await self._tools[str(call.function_name)](*call.args, **call.kwargs)}
        except ToolError as error:
            return {"exc_type": "RuntimeError", "message": str(error)}

    async def _failed(self, heard: "_Heard", error: str, *, is_lost: bool) -> Output:
        text, is_cut = cut(error, self._limits.output)
        if is_lost:
            await self._in_thread(self._drop)
        return Output(heard.text, None, text, heard.is_cut or is_cut, is_lost)

    # In a thread

    def _begin(self, code: str, heard: "_Heard") -> Any:
        if self._inner is None:
            self._inner = self._checked_out()
            if self._is_left:
                self._drop()
                raise SandboxError("The session was left while it waited for a process.")
        step = self._inner.feed_start(code, print_callback=heard, external_lookup=self._tools, os=self._system)
        return self._to_a_call(step)

    def _load(self, state: bytes) -> None:
        self._inner = self._checked_out()
        try:
            self._inner.load_session(state)
        except (MontyError, RuntimeError, ValueError) as error:
            self._drop()
            raise SandboxError(f"These variables cannot be restored: {error}") from error

    def _checked_out(self) -> pydantic_monty.MontySession:
        limits: ResourceLimits = {
            "max_feed_duration_secs": self._limits.seconds,
            "max_memory": self._limits.memory,
            "max_suspensions": UNBOUNDED,
        }
        inner = self._workers.pool().checkout(script_name="code.py", limits=limits, os_policy={"sleep": "zero"})
        try:
            entered = inner.__enter__()
        except TimeoutError as error:
            raise SandboxError("All of Monty's workers are taken: give MontySandbox more `processes`.") from error
        self._pid = entered.worker_pid  # asked now: while code runs, the answer would wait for it
        return entered

    def _on(self, step: FunctionSnapshot, answer: Any) -> Any:
        return self._to_a_call(step.resume(answer))

    def _to_a_call(self, step: Any) -> Any:
        """Go on through names and calls to the system, up to a call of a tool or the end."""
        while not isinstance(step, MontyComplete):
            is_call = isinstance(step, FunctionSnapshot) and not step.is_os_function and step.object_id is None
            if is_call and step.function_name in self._tools:
                return step
            step = step.resume_auto()
        return step

    async def _in_thread(self, work: Callable[[], T]) -> T:
        future = self._workers.begin(work, waits=self._inner is None)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._is_left = True
            self._kill()
            if not future.cancel() and self._pid is not None:
                await asyncio.wait([future])
            raise

    def _kill(self) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _drop(self) -> None:
        inner, self._inner, self._pid = self._inner, None, None
        if inner is not None:
            inner.__exit__(None, None, None)


def _told(error: MontyError) -> tuple[str, bool]:
    """An error in words, and whether the interpreter went with it: a limit does not leave its heap as it was."""
    if isinstance(error, MontyCrashedError):
        return f"The interpreter crashed: {error}", True
    told: Any = getattr(error, "display", error.__str__)
    is_limit = "limit exceeded" in str(error) and isinstance(error.exception(), TimeoutError | MemoryError)
    return str(told()), is_limit


class _TooManyCalls(Exception):
    """Ends code that no limit of its own time ends, as it only calls."""


class _Heard:
    """What code prints, up to a limit; the rest is let go, and the code goes on."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: list[str] = []
        self._length = 0
        self.is_cut = False

    def __call__(self, stream: str, piece: str) -> None:
        room = self._most - self._length
        self.is_cut = self.is_cut or len(piece) > room
        if room > 0:
            self._pieces.append(piece[:room])
            self._length += len(self._pieces[-1])

    @property
    def text(self) -> str:
        """All that was kept."""
        return "".join(self._pieces)
