"""Programs run in both forms, a provider that answers as it is told, and the steps of an agent."""

import ast
import asyncio
import concurrent.futures
import contextlib
import io
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

import dspex
from dspex.plugin import LMRequest, LMResponse, Output, SandboxLimits, ToolError, Usage
from dspex.testing import reset


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed, these tests use none of it."""
    monkeypatch.setenv("DSPEX_PLUGINS", "none")


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Calls a program, or awaits its `acall` on a loop of its own."""

    async def awaited(program: Any, *args: Any, **kwargs: Any) -> Any:
        return await program.acall(*args, **kwargs)

    def call(program: Any, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return program(*args, **kwargs)
        return asyncio.run(awaited(program, *args, **kwargs))

    return call


@pytest.fixture
def step() -> Callable[..., dict[str, Any]]:
    """One reply of an agent: its thought, the tool it calls and the arguments."""
    return lambda thought, tool, **args: {"next_thought": thought, "next_tool_name": tool, "next_tool_args": args}


class Provider:
    """Answers from a list and keeps what it was asked; an error is raised, a Choice or a text given, None never ends."""

    def __init__(self, *replies: Any, **known: Any) -> None:
        self.capabilities = dspex.Capabilities(**{"chat": True, **known})
        self.replies = list(replies)
        self.asked: list[LMRequest] = []
        self.ended = 0
        self._waiting, self._left = threading.Event(), threading.Event()
        self.lm = dspex.LM("my/model", provider=self, cache=False, num_retries=0)

    async def complete(self, request: LMRequest) -> LMResponse:
        self.asked.append(request)
        reply = self.replies.pop(0)
        try:
            if reply is None:
                self._waiting.set()
                await asyncio.Event().wait()
        finally:
            self.ended += 1
            if reply is None:
                self._left.set()
        if isinstance(reply, BaseException):
            raise reply
        if isinstance(reply, dict):
            reply = dspex.ChatAdapter().format_fields(reply)
        return (
            LMResponse.from_text(reply, Usage(10, 5)) if isinstance(reply, str) else LMResponse((reply,), Usage(10, 5))
        )

    async def entered(self) -> None:
        """Wait, on any loop, until a call is in the reply that never ends."""
        assert await asyncio.to_thread(self._waiting.wait, 10)

    async def left(self) -> None:
        """Wait until that call has been cancelled."""
        assert await asyncio.to_thread(self._left.wait, 10)


@pytest.fixture
def provider() -> type[Provider]:
    """The class Provider."""
    return Provider


LIMITS = SandboxLimits()


class InProcess:
    """A sandbox for the code of these tests, which means no harm: it keeps nothing in, and behaves as one otherwise."""

    identity = "in process"
    about = "There is no network."

    async def run(self, code: str, *, files=None, tools=None, limits=LIMITS) -> Output:
        return await self.session(files=files, tools=tools, limits=limits).run(code)

    def session(self, *, files=None, tools=None, limits=LIMITS) -> "Pieces":
        return Pieces(files or {}, tools or {}, limits)


class Pieces:
    """Runs pieces of code in a thread; a trace function ends it there, and the clock stands still while a tool runs."""

    def __init__(self, files: dict[str, bytes], tools: dict[str, Any], limits: SandboxLimits) -> None:
        self._files, self._tools, self._limits = files, tools, limits
        self._names = self._fresh()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def run(self, code: str) -> Output:
        self._calls, self._ended, self._raised = 0, False, None
        self._end: Exception = TimeoutError("the code took too long")
        self._loop = asyncio.get_running_loop()
        try:
            output = await asyncio.shield(thread := asyncio.ensure_future(asyncio.to_thread(self._run, code)))
        except asyncio.CancelledError:
            self._ended = True
            await asyncio.wait([thread])
            raise
        if self._raised is not None:
            raise self._raised
        return output

    def _fresh(self) -> dict[str, Any]:
        return {"open": self._open, "print": self._print, **{name: self._function(name) for name in self._tools}}

    def _open(self, name: str) -> io.StringIO:
        return io.StringIO(self._files[name].decode())

    def _print(self, *values: Any) -> None:
        print(*values, file=self._out)

    def _run(self, code: str) -> Output:
        self._out, value, error, lost = io.StringIO(), None, "", False
        self._left = self._limits.seconds
        self._since = time.monotonic()
        sys.settrace(self._watch)
        try:
            body = ast.parse(code).body
            last = [body.pop().value] if body and isinstance(body[-1], ast.Expr) else []
            exec(compile(ast.Module(body, []), "code", "exec"), self._names)
            for expression in last:
                value = _data(eval(compile(ast.Expression(expression), "code", "eval"), self._names))
        except BaseException:
            sys.settrace(None)
            lost = self._ended
            error = traceback.format_exc(chain=False)
        finally:
            sys.settrace(None)
        if lost:
            self._names = self._fresh()
        (out, is_a), (value, is_b), (error, is_c) = (self._cut(one) for one in (self._out.getvalue(), value, error))
        return Output(out, value, error, is_a or is_b or is_c, lost)

    def _cut(self, value: Any) -> tuple[Any, bool]:
        most = self._limits.output
        return (value[:most], True) if isinstance(value, str) and len(value) > most else (value, False)

    def _watch(self, _frame: Any, event: str, _argument: Any) -> Any:
        # Raised at a line, and not where an exception passes: there a `try` around it would catch it.
        if event == "line" and (self._ended or time.monotonic() - self._since > self._left):
            self._ended = True
            raise self._end
        return self._watch

    def _function(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            sys.settrace(None)
            began = time.monotonic()
            try:
                return self._called(name, *args, **kwargs)
            finally:
                self._since += time.monotonic() - began
                sys.settrace(self._watch)
                sys._getframe(1).f_trace = self._watch

        return call

    def _called(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self._calls += 1
        if self._calls > self._limits.calls:
            self._ended = True
            self._end = RuntimeError(f"tools were called more than {self._limits.calls} times")
            raise self._end
        future = asyncio.run_coroutine_threadsafe(self._tools[name](*args, **kwargs), self._loop)
        while True:
            try:
                return future.result(0.01)
            except concurrent.futures.TimeoutError:
                if self._ended:
                    future.cancel()
                    raise KeyboardInterrupt from None
            except ToolError:
                raise
            except BaseException as error:
                self._raised, self._ended = error, True
                raise KeyboardInterrupt from None


def _data(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_data(item) for item in value]
    return value if isinstance(value, (dict, str, int, float, type(None))) else repr(value)


@pytest.fixture
def in_process() -> type[InProcess]:
    """The class InProcess."""
    return InProcess


@pytest.fixture
def sandbox() -> Iterator[InProcess]:
    """The settings' sandbox, for these tests."""
    with contextlib.ExitStack() as stack:
        stack.callback(reset)
        made = InProcess()
        dspex.configure(sandbox=made)
        yield made
