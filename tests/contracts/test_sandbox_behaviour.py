"""The part of the sandboxes' kit that means no harm: a good one passes, and each kind of bad one fails the test that is about it.

The good one is what `dspex plugin new` writes. That the kit notices code that gets out: test_sandbox_contract.py.
"""

import asyncio
import importlib
import subprocess
import sys
from contextlib import asynccontextmanager

import msgspec
import pytest

from dspex.cli.scaffold import write
from dspex.plugin import Output, SandboxLimits, ToolError
from dspex.testing import SandboxBehaviour, SandboxContract

TESTS = [name for name in vars(SandboxBehaviour) if name.startswith("test_")]
USUAL = SandboxLimits()
NEVER = SandboxLimits(seconds=0.5, calls=10**9)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """The class of a good sandbox; it has no walls, but nothing here needs any."""
    folder = write("kit-box", "sandbox", tmp_path_factory.mktemp("box"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "src")
        yield importlib.import_module("dspex_kit_box.sandbox").KitBoxSandbox
    for name in [name for name in sys.modules if name.startswith("dspex_kit_box")]:
        del sys.modules[name]


class Wrapped:
    """The good one; what is bad about it is overridden."""

    def __init__(self, good):
        self.good = good({"walls": "env -i"})

    async def run(self, code, **how):
        return await self.good.run(code, **how)

    @asynccontextmanager
    async def session(self, **how):
        async with self.good.session(**how) as session:
            yield session


class LosesStdout(Wrapped):
    async def run(self, code, **how):
        return msgspec.structs.replace(await super().run(code, **how), stdout="")


class LosesLines(Wrapped):
    async def run(self, code, **how):
        output = await super().run(code, **how)
        return msgspec.structs.replace(output, error=output.error.rpartition("\n")[2])


class HasNoModules(Wrapped):
    async def run(self, code, **how):
        return Output(error="ImportError") if "decimal" in code else await super().run(code, **how)


class KeepsNames(Wrapped):
    code = ""

    async def run(self, code, **how):
        before, self.code = self.code, self.code + code + "\n"
        return await super().run(before + code, **how)


class LosesFiles(Wrapped):
    async def run(self, code, **how):
        return await super().run(code, **{**how, "files": {}})


class LosesTools(Wrapped):
    async def run(self, code, **how):
        return await super().run(code, **{**how, "tools": {}})


class SwallowsWhatToolsRaise(Wrapped):
    async def run(self, code, **how):
        def quiet(tool):
            async def call(*arguments, **keywords):
                try:
                    return await tool(*arguments, **keywords)
                except Exception as error:
                    raise ToolError("it failed") from error

            return call

        tools = {name: quiet(tool) for name, tool in how["tools"].items()}
        return await super().run(code, tools=tools, limits=SandboxLimits(seconds=0.3))


class ForgetsBetweenPieces(Wrapped):
    @asynccontextmanager
    async def session(self, **how):
        class Session:
            async def run(_self, code):
                return await self.run(code, **how)

        yield Session()


class NeverCuts(Wrapped):
    async def run(self, code, limits=None, **how):
        return await super().run(code, limits=SandboxLimits(output=10**6), **how)


class CountsTheTimeOfTools(Wrapped):
    async def run(self, code, limits=USUAL, **how):
        try:
            return await asyncio.wait_for(super().run(code, limits=limits, **how), limits.seconds)
        except TimeoutError:
            return Output(error="TimeoutError")


class CountsNoCalls(Wrapped):
    async def run(self, code, limits=None, **how):
        return await super().run(code, limits=NEVER, **how)


class GoesOnWhenCancelled(Wrapped):
    async def run(self, code, **how):
        return await asyncio.shield(asyncio.ensure_future(super().run(code, **{**how, "limits": NEVER})))


class BoundToOneLoop(Wrapped):
    loop = None

    async def run(self, code, **how):
        self.loop = self.loop or asyncio.get_running_loop()
        assert self.loop is asyncio.get_running_loop()
        return await super().run(code, **how)


def kit(good, made, base=SandboxBehaviour):
    class Kit(base):
        def make(self):
            return made(good)

    return Kit()


@pytest.mark.parametrize("name", TESTS)
def test_a_good_sandbox_passes(name, sandbox):
    getattr(kit(sandbox, Wrapped), name)()


@pytest.mark.parametrize(
    ("made", "about"),
    [
        (LosesStdout, "code_gives_what_it_prints"),
        (LosesLines, "an_error_says"),
        (HasNoModules, "common_modules"),
        (KeepsNames, "know_nothing_of_each_other"),
        (LosesFiles, "files_are_found"),
        (LosesTools, "plain_functions"),
        (SwallowsWhatToolsRaise, "beside_tool_errors"),
        (ForgetsBetweenPieces, "a_session_keeps"),
        (NeverCuts, "too_long_is_cut"),
        (CountsTheTimeOfTools, "time_of_tools"),
        (CountsNoCalls, "are_counted"),
        (GoesOnWhenCancelled, "cancelled"),
        (BoundToOneLoop, "several_loops"),
    ],
)
def test_a_bad_sandbox_fails_the_test_that_is_about_it(made, about, sandbox):
    [name] = [name for name in TESTS if about in name]
    with pytest.raises((AssertionError, ToolError)):
        getattr(kit(sandbox, made), name)()


class SaysNothingOfWhatIsLost(Wrapped):
    @asynccontextmanager
    async def session(self, **how):
        async with super().session(**how) as session:

            class Session:
                async def run(_self, code):
                    return msgspec.structs.replace(await session.run(code), lost=False)

            yield Session()


class LeavesAProcess(Wrapped):
    left = ()

    async def run(self, code, **how):
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])  # noqa: ASYNC220  a child is a child
        type(self).left = (*self.left, child)
        return await super().run("2 + 2", **how)


def test_a_session_that_does_not_say_what_is_lost_is_noticed(sandbox):
    with pytest.raises(AssertionError):
        kit(
            sandbox, SaysNothingOfWhatIsLost, SandboxContract
        ).test_after_a_limit_a_session_goes_on_and_says_what_is_lost()


@pytest.mark.skipif(sys.platform != "linux", reason="children of a process are seen in /proc")
def test_processes_that_are_left_are_noticed(sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr("dspex.testing.sandbox_contract.MARGIN_S", 1.0)
    try:
        with pytest.raises(AssertionError):
            kit(sandbox, LeavesAProcess, SandboxContract).test_nothing_of_it_is_left_running(tmp_path)
    finally:
        for process in LeavesAProcess.left:
            process.kill()
            process.wait()
