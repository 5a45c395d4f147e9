"""Programs run in both forms, a provider that answers as it is told, and the steps of an agent."""

import asyncio
import contextlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dspex
from dspex.plugin import LMRequest, LMResponse, Usage
from dspex.testing import reset

_spec = importlib.util.spec_from_file_location("in_process", Path(__file__).with_name("in_process.py"))
assert _spec is not None
assert _spec.loader is not None
sys.modules["in_process"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["in_process"])
InProcess = sys.modules["in_process"].InProcess


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
