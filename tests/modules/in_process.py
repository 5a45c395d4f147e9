"""A sandbox that keeps nothing in; without pytest, as processes of tests have it too."""

import ast
import asyncio
import concurrent.futures
import io
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Self

from dspex.plugin import Output, SandboxLimits, ToolError

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
