"""Pieces of code in one process inside the walls."""

import asyncio
import base64
import contextlib
import os
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from dspex.plugin import CodeTool, Output, SandboxError, SandboxLimits, ToolError
from dspex_bwrap import walls

START_S = 20.0
LINE = 16 << 20  # bytes of one message
PIECE = 1 << 16


class Message(msgspec.Struct):
    """What comes from inside, where code could have written it: nothing is believed but its form."""

    ready: bool = False
    call: str | None = None
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    value: Any = None
    error: str = ""
    cut: bool = False


class BwrapSession:
    """One process, begun with the first piece; after a limit was met, a fresh one goes on."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        tools: Mapping[str, CodeTool],
        limits: SandboxLimits,
        folders: Sequence[str],
        *,
        lasts: bool,
    ) -> None:
        self._files = {name: base64.b64encode(content).decode() for name, content in files.items()}
        self._tools = dict(tools)
        self._limits = limits
        self._folders = list(folders)
        self._lasts = lasts
        self._inside: _Inside | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    async def run(self, code: str) -> Output:
        """Run a piece. Raises SandboxError, and what a tool raises but ToolError."""
        try:
            if self._inside is None:
                self._inside = await self._begun()
            return await self._ran(self._inside, code)
        except _Lost as lost:
            out = self._inside.out if self._inside is not None else _Heard(0)
            await self._end()
            return Output(out.text, None, str(lost)[: self._limits.output], out.is_cut, lost=True)
        except BaseException:
            await self._end()
            raise

    async def _begun(self) -> "_Inside":
        inside = await _Inside.begun(self._folders, self._limits.output)
        self._inside = inside
        limits = self._limits
        setup = {
            "files": self._files,
            "paths": self._folders,
            "tools": list(self._tools),
            "memory": limits.memory,
            "processes": limits.processes,
            "output": limits.output,
            "cpu": 0 if self._lasts else int(limits.seconds) + 2,  # the clock outside bounds each piece
            "user": walls.USERS[0] + secrets.randbelow(walls.USERS[1]) if walls.is_root() else 0,
        }
        try:
            await inside.say(setup)
            await inside.heard(START_S)
        except _Lost as lost:
            said = " ".join(inside.out.text.split())[:500]
            raise SandboxError(f"bubblewrap could not make a sandbox: {said or lost}. {_ADVICE}") from None
        return inside

    async def _ran(self, inside: "_Inside", code: str) -> Output:
        inside.out = _Heard(self._limits.output)
        await inside.say({"code": code})
        left, calls = self._limits.seconds, 0
        while True:
            began = time.monotonic()
            message = await inside.heard(left, self._limits.seconds)
            left -= time.monotonic() - began
            if message.call is None:
                inside.drain()
                return self._output(inside.out, message)
            calls += 1
            if calls > self._limits.calls:
                raise _Lost(f"RuntimeError: tools were called more than {self._limits.calls} times")
            await inside.say(await self._answer(message))

    async def _answer(self, message: Message) -> dict[str, Any]:
        tool = self._tools.get(message.call or "")
        if tool is None:
            return {"failed": f"there is no tool {message.call!r}"}
        try:
            return {"result": await tool(*message.args, **message.kwargs)}
        except ToolError as error:
            return {"failed": str(error)}

    def _output(self, out: "_Heard", message: Message) -> Output:
        most = self._limits.output
        value, error = message.value, message.error[:most]
        if len(msgspec.json.encode(value)) > 6 * most:  # no answer of the driver's
            value = str(value)[:most]
        return Output(out.text, value, error, out.is_cut or message.cut or len(message.error) > most)

    async def _end(self) -> None:
        inside, self._inside = self._inside, None
        if inside is not None:
            await asyncio.shield(inside.end())


_ADVICE = "`dspex doctor` tries it out; a container may need to allow user namespaces (docker: --security-opt seccomp=unconfined)"


class _Lost(Exception):
    """The process is of no more use; in words for the model."""


class _Inside:
    """The process: a socket to speak to it, and what it prints."""

    def __init__(self, process: asyncio.subprocess.Process, link: Any, pipe: int, most: int) -> None:
        self._process = process
        self._reader, self._writer = link
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self.out = _Heard(most)
        self._loop.add_reader(pipe, self.drain, 1)

    @classmethod
    async def begun(cls, folders: Sequence[str], most: int) -> "_Inside":
        walls.program()  # before there is anything to be closed
        here, there = socket.socketpair()
        pipe, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(end, True)
        with there, contextlib.ExitStack() as stack:
            stack.callback(os.close, end)
            rules = stack.enter_context(tempfile.TemporaryFile())
            rules.write(walls.no_new_users())
            is_ruled = rules.tell() > 0
            rules.seek(0)
            inherited = (there.fileno(), rules.fileno()) if is_ruled else (there.fileno(),)
            words = walls.command(["-c", _driver(), str(there.fileno())], folders, rules.fileno() if is_ruled else None)
            try:
                process = await asyncio.create_subprocess_exec(
                    *words, stdin=asyncio.subprocess.DEVNULL, stdout=end, stderr=end, pass_fds=inherited
                )
                link = await asyncio.open_connection(sock=here, limit=LINE)
            except BaseException:
                here.close()
                os.close(pipe)
                raise
        return cls(process, link, pipe, most)

    def drain(self, most: int = 256) -> None:
        """Take what it has printed; in the end, all that came before its answer."""
        for _ in range(most):
            try:
                piece = os.read(self._pipe, PIECE)
            except BlockingIOError:
                return
            if not piece:
                self._loop.remove_reader(self._pipe)
                return
            self.out.add(piece)

    async def say(self, message: Any) -> None:
        """Send a line."""
        try:
            self._writer.write(msgspec.json.encode(message) + b"\n")
            async with asyncio.timeout(START_S):
                await self._writer.drain()
        except (OSError, TimeoutError):
            raise _Lost(await self._why()) from None

    async def heard(self, seconds: float, of: float = START_S) -> Message:
        """The next line. Raises _Lost when time is over, or the process has ended."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                line = await self._reader.readuntil(b"\n")
            return msgspec.json.decode(line, type=Message)
        except TimeoutError:
            self.drain()
            raise _Lost(f"TimeoutError: the code ran for more than {of:g} s") from None
        except (msgspec.MsgspecError, asyncio.LimitOverrunError, UnicodeDecodeError):
            raise _Lost("The code wrote over what its interpreter had to say") from None
        except (asyncio.IncompleteReadError, OSError):
            raise _Lost(await self._why()) from None

    async def _why(self) -> str:
        try:
            async with asyncio.timeout(1.0):
                status = await self._process.wait()
        except TimeoutError:
            status = 0
        self.drain()
        # Where a signal ended the inner process, bwrap gives 128 and its number.
        ended = status - 128 if status > 128 else -status
        by = f" by {signal.Signals(ended).name}" if ended in set(signal.Signals) else f" (status {status})"
        return f"The process ended{by}, before the code was done"

    async def end(self) -> None:
        """Kill it, with all that it began, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class _Heard:
    """What a process prints, up to a limit of characters; the rest is let go."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = bytearray()
        self._is_over = False

    def add(self, piece: bytes) -> None:
        """Take a piece."""
        room = self._most * 4 + 4 - len(self._bytes)  # a character has four bytes at most
        self._bytes += piece[:room]
        self._is_over = self._is_over or len(piece) > room

    @property
    def _all(self) -> str:
        return self._bytes.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """What was kept."""
        return self._all[: self._most]

    @property
    def is_cut(self) -> bool:
        """Whether there was more."""
        return self._is_over or len(self._all) > self._most


@cache
def _driver() -> str:
    return Path(__file__).with_name("driver.py").read_text("utf-8")
