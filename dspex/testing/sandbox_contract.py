"""What every sandbox must do, and must not let code do, as tests that a plugin's own test class inherits."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dspex.core.errors import SandboxError, ToolError
from dspex.core.sandbox import Output, SandboxLimits
from dspex.plugin.contracts import CodeTool, Sandbox
from dspex.testing import escapes

LIMIT_S = 30.0
MARGIN_S = 5.0  # a busy machine's, beside a limit of time
BRIEF = SandboxLimits(seconds=1.0, memory=128 << 20, output=5_000)
SLOW = SandboxLimits(seconds=LIMIT_S)


class SandboxBehaviour:
    """How a sandbox serves code that means no harm. Subclass it as `TestMine` and give `make`."""

    def make(self) -> Sandbox:
        """A sandbox, not used before."""
        raise NotImplementedError

    def live(self, work: Callable[[Any], Awaitable[None]]) -> None:
        """Run `work(sandbox)` on a loop, and close the sandbox."""

        async def life() -> None:
            sandbox = self.make()
            try:
                async with asyncio.timeout(LIMIT_S * 2):
                    await work(sandbox)
            finally:
                await getattr(sandbox, "aclose", _nothing)()

        asyncio.run(life())

    def test_code_gives_what_it_prints_and_the_value_of_its_last_line(self) -> None:
        async def work(sandbox: Sandbox) -> None:
            assert await sandbox.run("x = 2\nprint('one')\nprint('two')\nx + 1") == Output("one\ntwo\n", 3)
            assert await sandbox.run("x = 2") == Output()
            assert await sandbox.run("") == Output()
            data = {"a": [1, 2.5, True, None, "ü\n"], "b": {"c": []}}
            assert (await sandbox.run(repr(data))).value == data
            assert (await sandbox.run("(1, (2, 3))")).value == [1, [2, 3]]
            assert isinstance((await sandbox.run("len")).value, str)

        self.live(work)

    def test_an_error_says_its_kind_its_words_and_its_line(self) -> None:
        async def work(sandbox: Sandbox) -> None:
            failed = await sandbox.run("print('before')\n\n1 / 0")
            assert (failed.stdout, failed.value) == ("before\n", None)
            assert "ZeroDivisionError" in failed.error
            assert "line 3" in failed.error
            assert "SyntaxError" in (await sandbox.run("def f(:")).error
            assert "nowhere" in (await sandbox.run("nowhere + 1")).error
            assert "ValueError: it is bad" in (await sandbox.run("raise ValueError('it is bad')")).error

        self.live(work)

    def test_common_modules_are_there(self) -> None:
        async def work(sandbox: Sandbox) -> None:
            modules = "base64, collections, csv, datetime, decimal, functools, hashlib, itertools, json, math, pathlib, random, re"
            found = await sandbox.run(f"import {modules}\nstr(decimal.Decimal('0.1') + datetime.date(2026, 1, 2).day)")
            assert found == Output("", "2.1")

        self.live(work)

    def test_runs_know_nothing_of_each_other(self) -> None:
        async def work(sandbox: Sandbox) -> None:
            assert (await sandbox.run("x = 1\nx")).value == 1
            assert "NameError" in (await sandbox.run("x")).error

        self.live(work)

    def test_files_are_found_by_their_names(self) -> None:
        async def work(sandbox: Sandbox) -> None:
            files = {"a.txt": "ü".encode(), "in/b.json": b"[1]"}
            assert (await sandbox.run("open('a.txt').read()", files=files)).value == "ü"
            assert (await sandbox.run("import json\njson.load(open('in/b.json'))", files=files)).value == [1]
            assert (await sandbox.run("open('a.txt').read()")).error

        self.live(work)

    def test_tools_are_plain_functions_in_the_code(self) -> None:
        calls = []

        async def look(word: str, times: int = 1) -> Any:
            calls.append((word, times))
            await asyncio.sleep(0)
            return {"word": word * times, "n": [times]}

        async def fails(why: str) -> None:
            raise ToolError(f"It failed: {why}")

        async def work(sandbox: Sandbox) -> None:
            tools: dict[str, CodeTool] = {"look": look, "fails": fails}
            code = "found = [look('a'), look('b', times=2)]\n[one['word'] for one in found]"
            assert (await sandbox.run(code, tools=tools)).value == ["a", "bb"]
            assert calls == [("a", 1), ("b", 2)]
            code = "try:\n    fails('so')\nexcept Exception as error:\n    print(error)"
            assert (await sandbox.run(code, tools=tools)).stdout == "It failed: so\n"
            assert "It failed: so" in (await sandbox.run("fails('so')", tools=tools)).error
            assert "NameError" in (await sandbox.run("other('so')", tools=tools)).error

        self.live(work)

    def test_what_a_tool_raises_beside_tool_errors_ends_the_code_and_is_raised(self) -> None:
        class Done(Exception):
            pass

        async def done() -> None:
            raise Done

        async def work(sandbox: Any) -> None:
            code = "while True:\n    try:\n        done()\n    except BaseException:\n        pass"

            async def in_session() -> None:
                async with sandbox.session(tools={"done": done}, limits=SLOW) as session:
                    await session.run(code)

            for attempt in (lambda: sandbox.run(code, tools={"done": done}, limits=SLOW), in_session):
                try:
                    await attempt()
                except Done:
                    continue
                raise AssertionError("what the tool raised did not come out")

        self.live(work)

    def test_a_session_keeps_what_was_defined(self) -> None:
        async def work(sandbox: Any) -> None:
            async with sandbox.session(files={"a.txt": b"a"}) as session:
                assert (await session.run("def double(x):\n    return 2 * x\ny = 3\nprint('one')")).stdout == "one\n"
                assert "ZeroDivisionError" in (await session.run("y = 4\n1 / 0")).error
                assert "SyntaxError" in (await session.run("def (")).error
                assert await session.run("double(y)") == Output("", 8)
                assert (await session.run("open('a.txt').read()")).value == "a"
            async with sandbox.session() as session:
                assert "NameError" in (await session.run("y")).error

        self.live(work)

    def test_variables_that_it_writes_down_are_there_in_another_session(self) -> None:
        async def work(sandbox: Any) -> None:
            async with sandbox.session() as session:
                if not hasattr(session, "dump"):
                    return
                await session.run("def double(x):\n    return 2 * x\ny = {'a': [1, 2.5, None, 'ü']}")
                assert "ZeroDivisionError" in (await session.run("1 / 0")).error
                state = await session.dump()
                assert await session.run("double(3)") == Output("", 6)
            async with sandbox.session() as session:
                try:
                    await session.restore(b"something else")
                except SandboxError:
                    assert "NameError" in (await session.run("y")).error
                else:
                    raise AssertionError("it has restored what is no state")
            async with sandbox.session() as session:
                await session.restore(state)
                assert (await session.run("[double(4), y]")).value == [8, {"a": [1, 2.5, None, "ü"]}]

        self.live(work)

    def test_what_is_too_long_is_cut_and_says_so(self) -> None:
        async def work(sandbox: Sandbox) -> None:
            code = "print('x' * 900)\nprint('y' * 900)\n'z' * 2000"
            found = await sandbox.run(code, limits=SandboxLimits(output=1_000))
            assert found.truncated
            assert found.stdout == "x" * 900 + "\n" + "y" * 99
            assert found.value == "z" * 1_000
            found = await sandbox.run("raise ValueError('x' * 2000)", limits=SandboxLimits(output=1_000))
            assert found.truncated
            assert len(found.error) == 1_000
            exact = await sandbox.run("print('x' * 99)", limits=SandboxLimits(output=100))
            assert exact == Output("x" * 99 + "\n")

        self.live(work)

    def test_the_time_of_tools_is_not_that_of_the_code(self) -> None:
        async def slow() -> int:
            await asyncio.sleep(0.2)
            return 1

        async def work(sandbox: Sandbox) -> None:
            limits = SandboxLimits(seconds=0.5)
            assert (await sandbox.run("sum([slow(), slow(), slow()])", tools={"slow": slow}, limits=limits)).value == 3

        self.live(work)

    def test_calls_of_tools_are_counted(self) -> None:
        calls = []

        async def tool() -> None:
            calls.append(1)

        async def work(sandbox: Sandbox) -> None:
            code = "while True:\n    try:\n        tool()\n    except Exception:\n        pass"
            limits = SandboxLimits(seconds=LIMIT_S, calls=5)
            assert "more than 5 times" in (await sandbox.run(code, tools={"tool": tool}, limits=limits)).error
            assert len(calls) == 5

        self.live(work)

    def test_cancelled_it_ends_at_once_and_goes_on_serving(self) -> None:
        async def work(sandbox: Any) -> None:
            entered, left = asyncio.Event(), asyncio.Event()

            async def waits() -> None:
                entered.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    left.set()

            for code in ("waits()", "waits_not = 1\nwhile True:\n    pass"):
                task = asyncio.create_task(sandbox.run(code, tools={"waits": waits}, limits=SLOW))
                await (entered.wait() if code == "waits()" else asyncio.sleep(0.2))
                began = time.monotonic()
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled()
                assert time.monotonic() - began < MARGIN_S
            assert left.is_set()
            assert (await sandbox.run("2 + 2")).value == 4

        self.live(work)

    def test_it_serves_many_at_once_from_several_loops(self) -> None:
        async def work(sandbox: Sandbox) -> None:
            async def twice(number: int) -> int:
                return number * 2

            async def one(number: int) -> Any:
                found = await sandbox.run(f"print({number})\ntwice({number})", tools={"twice": twice}, limits=SLOW)
                return found.stdout, found.value

            def elsewhere() -> Any:
                return asyncio.run(one(100))

            found = await asyncio.gather(*map(one, range(12)), asyncio.to_thread(elsewhere))
            assert found == [(f"{number}\n", number * 2) for number in [*range(12), 100]]

        self.live(work)


class SandboxContract(SandboxBehaviour):
    """That, and an escape suite: each of its pieces of code is bounded in time, memory and output, and gets nothing.

    `limits` are those of the escapes. It opens a port on the loopback address, and starts a process for code to attack.
    """

    limits = BRIEF

    def escape(
        self, tmp_path: Path, codes: Mapping[str, str], check: "Callable[[str, Output], None] | None" = None
    ) -> None:
        """Let each piece of code try; `check(name, output)` may ask for more."""

        async def work(sandbox: Sandbox) -> None:
            with _host(tmp_path) as host:
                for name, code in codes.items():
                    began = time.monotonic()
                    output = await sandbox.run(code.format(**host.places), limits=self.limits)
                    assert time.monotonic() - began < self.limits.seconds + MARGIN_S, name
                    host.check(name, output)
                    _bounded(name, output, self.limits.output)
                    if check is not None:
                        check(name, output)
                    assert (await sandbox.run("2 + 2", limits=SLOW)).value == 4, f"after {name}"

        self.live(work)

    def test_it_reads_no_file_of_the_host(self, tmp_path: Path) -> None:
        self.escape(tmp_path, escapes.READS)

    def test_it_writes_no_file_of_the_host(self, tmp_path: Path) -> None:
        self.escape(tmp_path, escapes.WRITES)

    def test_it_sees_no_environment_of_the_host(self, tmp_path: Path) -> None:
        self.escape(tmp_path, escapes.ENVIRONMENT)

    def test_it_has_no_network(self, tmp_path: Path) -> None:
        self.escape(tmp_path, escapes.NETWORK)

    def test_it_harms_no_process_and_not_its_own_sandbox(self, tmp_path: Path) -> None:
        self.escape(tmp_path, escapes.PROCESSES)

    def test_time_memory_and_processes_are_bounded(self, tmp_path: Path) -> None:
        def failed(name: str, output: Output) -> None:
            assert output.error, name

        self.escape(tmp_path, escapes.BOMBS, failed)

    def test_output_is_bounded(self, tmp_path: Path) -> None:
        def ended(name: str, output: Output) -> None:
            assert output.error or output.truncated, name

        self.escape(tmp_path, escapes.FLOODS, ended)

    def test_after_a_limit_a_session_goes_on_and_says_what_is_lost(self) -> None:
        async def work(sandbox: Any) -> None:
            async with sandbox.session(limits=self.limits) as session:
                assert (await session.run("x = 1")).error == ""
                failed = await session.run("while True:\n    pass")
                assert failed.error
                assert failed.lost
                assert "NameError" in (await session.run("x")).error
                assert (await session.run("y = 2\ny")).value == 2

        self.live(work)

    def test_nothing_of_it_is_left_running(self, tmp_path: Path) -> None:
        before = _children()
        self.escape(tmp_path, {"forks": escapes.BOMBS["forks"], "a loop": escapes.BOMBS["an endless loop"]})
        ends = time.monotonic() + MARGIN_S
        while _children() - before and time.monotonic() < ends:
            time.sleep(0.01)
        assert not _children() - before


class _Host:
    """What there is to be got outside of the sandbox."""

    def __init__(self, folder: Path, port: int, pid: int, address: str) -> None:
        self.token = secrets.token_hex(8)
        self.connections = 0
        self._secret, self._marker = folder / "secret", folder / "marker"
        self._secret.write_text(self.token)
        self.places = {"secret": str(self._secret), "marker": str(self._marker), "port": port, "pid": pid}
        self.places["socket"] = address
        self.victim: Any = None

    def check(self, name: str, output: Output) -> None:
        """Fails if code got anything."""
        told = f"{output.stdout}{output.value}{output.error}"
        assert self.token not in told, f"{name} read the host's secret"
        assert escapes.GOT not in told, f"{name} escaped: {told[:500]}"
        assert not self._marker.exists(), f"{name} wrote into the host's folder"
        assert self._secret.exists(), f"{name} removed the host's file"
        assert not self.connections, f"{name} reached the host's port"
        assert self.victim.poll() is None, f"{name} ended a process of the host"


@contextmanager
def _host(folder: Path) -> Iterator[_Host]:
    address = f"dspex-{secrets.token_hex(8)}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as victim,
    ):
        if sys.platform == "linux":
            abstract.bind("\0" + address)
            abstract.listen()
        host = _Host(folder, server.getsockname()[1], victim.pid, address)
        host.victim = victim
        listener = threading.Thread(target=_answer, args=(server, host), daemon=True)
        listener.start()
        before = os.environ.get("DSPEX_ESCAPE")
        os.environ["DSPEX_ESCAPE"] = host.token
        try:
            yield host
        finally:
            os.environ.pop("DSPEX_ESCAPE")
            if before is not None:
                os.environ["DSPEX_ESCAPE"] = before
            victim.kill()
            server.shutdown(socket.SHUT_RDWR)
            listener.join()


def _answer(server: socket.socket, host: _Host) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:  # it is closed
            return
        host.connections += 1
        with connection:
            connection.sendall(host.token.encode())


def _bounded(name: str, output: Output, most: int) -> None:
    assert len(output.stdout) <= most, name
    assert len(str(output.value)) <= most, name
    assert len(output.error) <= most, name


def _children() -> set[str]:
    """Processes that this one started, where the system lists them."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return set()
    return {pid for task in tasks.iterdir() for pid in _read(task / "children").split()}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the thread has just ended
        return ""


async def _nothing() -> None:
    pass
