"""A provider that does what it is told, and a run in virtual time around it."""

import asyncio
import threading
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import dspex
from dspex.plugin import LMRequest, LMResponse, Usage
from dspex.plugin.manager import PluginManager
from dspex.testing import VirtualClock, simulate


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed, these tests use none of it."""
    monkeypatch.setenv("DSPEX_PLUGINS", "none")


class Script:
    """An LMProvider: each call takes the next step, the last one for ever.

    A step is the reply (a text or an LMResponse), an error to raise, or a number of seconds to take before the step
    after it. `requests` holds what came, `most` how many were in flight at once.
    """

    def __init__(self, *steps: Any, seconds: float = 0.0) -> None:
        self.steps = list(steps or ["4"])
        self.seconds = seconds
        self.requests: list[LMRequest] = []
        self.now = self.most = 0
        self.lock = threading.Lock()

    async def complete(self, request: LMRequest) -> LMResponse:
        seconds = self.seconds
        with self.lock:
            self.requests.append(request)
            self.now += 1
            self.most = max(self.most, self.now)
            step = self.step()
            if isinstance(step, float):
                seconds, step = step, self.step()
        try:
            await asyncio.sleep(seconds)
        finally:
            with self.lock:
                self.now -= 1
        if isinstance(step, BaseException):
            raise step
        return step if isinstance(step, LMResponse) else LMResponse.from_text(step, Usage(10, 5, calls=1))

    def step(self) -> Any:
        return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]


@pytest.fixture
def script() -> type[Script]:
    """The class Script."""
    return Script


class Outcome:
    """What came out of a call, and how many virtual seconds it took."""

    def __init__(self, value: Any, error: BaseException | None, seconds: float) -> None:
        self.value, self.error, self.seconds = value, error, seconds


async def outcome(work: Coroutine[Any, Any, Any]) -> Outcome:
    """A coroutine's result or error as a value."""
    began = asyncio.get_running_loop().time()
    value, error = None, None
    try:
        value = await work
    except (Exception, asyncio.CancelledError) as raised:
        error = raised
    return Outcome(value, error, asyncio.get_running_loop().time() - began)


@pytest.fixture
def settled() -> Callable[..., Coroutine[Any, Any, list[Outcome]]]:
    """Runs coroutines side by side, in order of their begin, and gives all outcomes."""

    async def run(*works: Coroutine[Any, Any, Any]) -> list[Outcome]:
        return list(await asyncio.gather(*map(outcome, works)))

    return run


@pytest.fixture
def virtual(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Runs an async function in virtual time, in an App without plugins; gives its result. Each test has a seed of its own."""
    seed = zlib.crc32(request.node.name.encode())

    def run(main: Callable[..., Coroutine[Any, Any, Any]], **settings: Any) -> Any:
        async def inside() -> Any:
            plugins = PluginManager(lambda: ())
            async with dspex.App(clock=VirtualClock(), plugins=plugins, seed=seed, **settings):
                return await main()

        return simulate(inside, seed)[0]

    return run
