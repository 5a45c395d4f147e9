"""Code in pieces, in a run that may be on disk: what was asked and called before a kill is not asked or called again.

A sandbox's variables do not outlive it. Where its sessions can write them down, they are kept behind each piece. Else, when a
run goes on, its finished pieces are run once more where a further one needs what they defined: their calls of tools are
answered by what these gave before, and what they printed is known.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Self

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import AdapterParseError, SandboxError, ToolError
from dspex.core.example import Prediction
from dspex.core.identity import digest
from dspex.core.sandbox import Output
from dspex.plugin.contracts import CodeTool, SandboxSession
from dspex.program.agent_journal import Forgetful, Memory
from dspex.program.fitting import Fitting, unread
from dspex.program.predict import Predict
from dspex.program.tool_use import CUT_OFF
from dspex.program.trajectory import Trajectory
from dspex.runtime.callbacks import Emission
from dspex.runtime.worker_threads import in_thread

MAX_VARIABLES = 16 << 20  # bytes; more are made again instead of kept

Open = Callable[[Mapping[str, CodeTool]], AbstractAsyncContextManager[SandboxSession]]


class Written(msgspec.Struct, frozen=True):
    """What the model wrote in a turn; `fault` says what could not be read of it."""

    code: str = ""
    reasoning: str = ""
    finished: bool = False
    fault: str = ""


async def written(
    number: int, memory: Memory, fitting: Fitting, ask: Callable[[Trajectory], Awaitable[Written]]
) -> Written:
    """What the model writes in a turn, or wrote when it was asked before."""
    key = f"turn/{number}"
    await fitting.shorten()
    found = memory.found(key, Written)
    if found is None:
        try:
            found = await fitting.ask(ask)
        except AdapterParseError as error:
            found = Written(fault=unread(error))
        memory.keep(key, found)
    return found


async def extracted(
    memory: Memory, fitting: Fitting, predictor: Predict, ask: Callable[[Trajectory], Awaitable[Any]]
) -> Prediction:
    """The outputs that `predictor` makes of all steps, or made before."""
    key = f"answer/{len(fitting.trajectory.steps)}"
    kept = memory.found(key, dict[str, Any])
    if kept is not None:
        return Prediction.from_dict(kept, predictor.signature)
    await fitting.shorten()
    answer: Prediction = await fitting.ask(ask)
    memory.keep(key, dict(answer.items()))
    return answer


class Gave(msgspec.Struct, frozen=True):
    """What a call in the code gave: a value, or the words of an error."""

    value: Any = None
    error: str | None = None


class Pieces:
    """The pieces of one run, for `async with`; `open` makes a session with tools, `setup` is run in each new one.

    `once` names tools that must not be called twice. The session begins with the first piece that has to be run.
    """

    def __init__(
        self,
        open: Open,
        tools: Mapping[str, CodeTool],
        memory: Memory,
        *,
        once: frozenset[str] = frozenset(),
        setup: str = "",
    ) -> None:
        self._open = open
        self._memory = memory
        self._once = once
        self._setup = setup
        is_kept = not isinstance(memory, Forgetful)
        self._tools = {name: self._remembered(name, tool) for name, tool in tools.items()} if is_kept else dict(tools)
        self._session: SandboxSession | None = None
        self._stack = AsyncExitStack()
        self._before: list[tuple[str, str]] = []  # known from a run before, and not run in this session
        self._piece, self._is_again = "", False
        self._made: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is None:
            return
        async with self._told("interpreter_shutdown", {}):
            await self._stack.__aexit__(kind, error, traceback)

    async def run(self, number: int, code: str) -> Output:
        """What the piece of a turn gives, or gave before. What a tool raises beyond ToolError is raised."""
        key = f"piece/{number}"
        kept = self._memory.found(key, Output)
        if kept is not None:
            self._before = [] if kept.lost else [*self._before, (key, code)]
            return kept
        session = await self.begin()
        output = await self._ran(session, key, code)
        self._memory.keep(key, output)
        if output.lost:
            await self._set_up(session)
        else:
            await self._keep_variables(session, key)
        return output

    async def _keep_variables(self, session: Any, key: str) -> None:
        dump = getattr(session, "dump", None)
        if dump is None or isinstance(self._memory, Forgetful):
            return
        try:
            variables = await dump()
        except SandboxError:  # the pieces are run again, if it comes to that
            return
        if len(variables) <= MAX_VARIABLES:
            await in_thread(self._memory.keep_variables, key, variables)  # the disk may be slow

    async def _restored(self, session: Any) -> bool:
        """Whether it has the variables that were kept; pieces behind them are still to be run."""
        restore, kept = getattr(session, "restore", None), self._memory.variables()
        keys = [key for key, _ in self._before]
        if restore is None or kept is None or kept[0] not in keys:
            return False
        try:
            await restore(kept[1])
        except SandboxError:  # another version of the sandbox wrote them
            return False
        self._before = self._before[keys.index(kept[0]) + 1 :]
        return True

    async def begin(self) -> SandboxSession:
        """The session, with all that was defined in it. Raises SandboxError."""
        if self._session is None:
            async with self._told("interpreter_startup", {}):
                self._session = await self._stack.enter_async_context(self._open(self._tools))
            if not await self._restored(self._session):
                await self._set_up(self._session)
        before, self._before = self._before, []
        self._is_again = True
        for key, code in before:
            await self._ran(self._session, key, code)
        self._is_again = False
        return self._session

    async def _set_up(self, session: SandboxSession) -> None:
        if self._setup:
            output = await session.run(self._setup)
            if output.error:
                raise SandboxError(f"The inputs could not be put into the sandbox: {output.error}")

    async def _ran(self, session: SandboxSession, key: str, code: str) -> Output:
        self._piece = key
        self._made.clear()
        async with self._told("interpreter_execute", {"code": code}) as emission:
            emission.outputs = output = await session.run(code)
        return output

    def _told(self, kind: str, inputs: dict[str, Any]) -> Emission:
        return Emission(current_app().settings.callbacks, kind, self._session, inputs)

    def _remembered(self, name: str, tool: CodeTool) -> CodeTool:
        async def call(*positional: Any, **given: Any) -> Any:
            key = self._key(name, positional, given)
            kept = self._memory.found(key, Gave)
            if kept is None:
                kept = await self._called(name, key, tool, positional, given)
            if kept.error is not None:
                raise ToolError(kept.error)
            return kept.value

        return call

    async def _called(
        self, name: str, key: str, tool: CodeTool, positional: tuple[Any, ...], given: Mapping[str, Any]
    ) -> Gave:
        if self._is_again:
            return Gave(error=f"{name} was not called so before, and is not called again.")
        if name in self._once and not self._memory.begin(key):
            return Gave(error=CUT_OFF.format(name))
        try:
            gave = Gave(await tool(*positional, **given))
        except ToolError as error:
            gave = Gave(error=str(error))
        self._memory.keep(key, gave)
        return gave

    def _key(self, name: str, positional: tuple[Any, ...], given: Mapping[str, Any]) -> str:
        """Of a call by what it is, and not by when it comes: code may call several at once."""
        call = f"{self._piece}/{name}/{digest([list(positional), dict(given)])}"
        self._made[call] += 1
        return f"{call}/{self._made[call]}"
