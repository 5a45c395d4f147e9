"""A server that dies, does not answer, is not there: what calls see, and that nothing of it is left."""

import asyncio
import os
import signal
import sys

import pytest

import dspex
from dspex.core.clock import SystemClock
from dspex_mcp import Http, ServerUnavailable, Stdio, connect


class Standing(SystemClock):
    """A clock that goes on only where it is put: a busy machine does not draw out a storm of deaths."""

    time = 0.0

    def monotonic(self) -> float:
        return self.time


async def pid_of(connection, tool) -> int:
    return int(await tool(connection, "pid").acall())


async def test_a_call_that_a_server_dies_of_is_a_typed_error_and_the_next_one_works(weather, tool):
    async with dspex.App() as app, weather() as connection:
        before = await pid_of(connection, tool)
        with pytest.raises(ServerUnavailable, match="'die', which may or may not have had its effect") as caught:
            await tool(connection, "die").acall()
        assert caught.value.server == connection.name
        assert await pid_of(connection, tool) != before
        [row] = [row for row in app.tree() if row.name.startswith("mcp ")]
        assert (row.state, row.restarts) == ("running", 1)
        assert row.error.endswith("went away; Its stderr ended with: out of memory")


async def test_all_calls_in_flight_are_told_and_those_that_come_meanwhile_wait(weather, tool):
    async with weather() as connection:
        stuck = [asyncio.create_task(connection.call_tool("endless")) for _ in range(5)]
        await connection.call_tool("pid")
        with pytest.raises(ServerUnavailable):
            await connection.call_tool("die")
        waiting = await asyncio.gather(*(tool(connection, "forecast").acall(city="Rome") for _ in range(5)))
        assert all(one.startswith("Rome") for one in waiting)
        assert {type(one) for one in await asyncio.gather(*stuck, return_exceptions=True)} == {ServerUnavailable}


async def test_a_server_that_is_killed_between_calls_is_replaced(weather, tool):
    async with weather() as connection:
        before = await pid_of(connection, tool)
        os.kill(before, signal.SIGKILL)
        while connection._client is not None:  # noqa: ASYNC110  its end is seen by another task
            await asyncio.sleep(0)
        assert await pid_of(connection, tool) != before


async def test_one_that_dies_again_and_again_is_left_alone_for_a_while(weather, tool):
    clock = Standing()
    async with dspex.App(clock=clock), weather() as connection:
        for _ in range(4):
            with pytest.raises(ServerUnavailable, match="may or may not"):
                await tool(connection, "die").acall()
        with pytest.raises(ServerUnavailable, match=r"is not available: .*out of memory"):
            await tool(connection, "pid").acall()
        with pytest.raises(ServerUnavailable, match="tried again in a few seconds"):
            await tool(connection, "pid").acall()
        clock.time = 6
        assert await pid_of(connection, tool)


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (["/no/such/command"], r"No such file or directory \(/no/such/command\)"),
        ("http://127.0.0.1:9/mcp", "ConnectError"),
    ],
    ids=["command", "address"],
)
async def test_a_server_that_is_not_there_says_so_at_once(server, why):
    with pytest.raises(ServerUnavailable, match=why):
        async with connect(server):
            pass


async def test_what_a_command_said_before_it_died_is_told(command):
    with pytest.raises(ServerUnavailable, match="no configuration"):
        async with connect(command("broken")):
            pass


async def test_one_that_does_not_answer_is_given_up_and_ended(mute, is_gone):
    command, pid = mute
    with pytest.raises(ServerUnavailable, match=r"it did not answer within 2 s"):
        async with connect(command, connect_s=2):
            pass
    assert await is_gone(int(pid.read_text()))


async def test_cancelled_while_it_connects_it_leaves_no_process(mute, is_gone):
    command, pid = mute
    task = asyncio.create_task(connect(command).start())
    while not pid.exists() or not pid.read_text():  # noqa: ASYNC110  another process writes it
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await is_gone(int(pid.read_text()))


async def test_given_up_before_it_has_begun_nothing_is_started(mute):
    command, pid = mute
    async with dspex.App() as app:
        for turns in range(6):
            task = asyncio.create_task(connect(command).start())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert all(row.state == "ended" for row in app.tree())
    assert not pid.exists()


@pytest.mark.parametrize("mode", ["stdio", "stubborn"])
async def test_leaving_ends_the_process_also_one_that_does_not_want_to(real_command, tool, is_gone, mode):
    async with connect(real_command(mode)) as connection:
        pid = await pid_of(connection, tool)
    assert await is_gone(pid)


async def test_it_ends_with_its_app_and_with_an_error_inside(weather, tool, is_gone):
    async with dspex.App():
        first = await weather().start()
        one = await pid_of(first, tool)
    with pytest.raises(ServerUnavailable, match="not connected"):
        await first.call_tool("pid")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  what is raised comes last
        async with weather() as connection:
            other = await pid_of(connection, tool)
            raise ZeroDivisionError
    assert await is_gone(one)
    assert await is_gone(other)


def test_a_script_that_forgets_to_close_leaves_no_process(weather, tool, is_gone):
    connection = weather().__enter__()
    pid = tool(connection, "pid")()
    dspex.testing.reset()
    assert asyncio.run(is_gone(int(pid)))


async def test_no_key_of_this_process_reaches_a_command(weather, tool, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    async with weather() as connection:
        names = await tool(connection, "environment").acall()
    assert "PATH" in names.split()
    assert "OPENAI_API_KEY" not in names


def test_secrets_of_a_server_are_not_shown():
    shown = (
        repr(Http("https://user:key@host/mcp?key=1", {"Authorization": "Bearer key"})),
        repr(Stdio("a", env={"K": "key"})),
    )
    assert not any("key" in one.replace("key=***", "") for one in shown)
    assert "Authorization=***" in shown[0]


@pytest.mark.parametrize("wrong", ["weather.py", "ftp://host/x", [], [""]], ids=repr)
def test_what_is_no_server_is_refused(wrong):
    with pytest.raises(dspex.ConfigurationError):
        connect(wrong)


async def test_a_connection_is_entered_once_and_not_by_with_on_its_own_loop(weather):
    async with dspex.App():
        with pytest.raises(dspex.ConfigurationError, match="async with"), weather():
            pass
    async with weather() as connection:
        with pytest.raises(dspex.ConfigurationError, match="already"):
            await connection.start()


async def test_over_http_it_is_the_same(over_http, tool):
    _, address = over_http()
    async with connect(address) as connection:
        assert await tool(connection, "forecast").acall(city="Rome") == "Rome: sunny for 1 days, 20 C"
        with pytest.raises(dspex.ToolError, match="no station in Oslo"):
            await tool(connection, "fails").acall(city="Oslo")


async def test_an_http_server_that_is_begun_anew_is_found_again(over_http, tool):
    process, address = over_http()
    clock = Standing()
    async with dspex.App(clock=clock), connect(address) as connection:
        before = await pid_of(connection, tool)
        with pytest.raises(ServerUnavailable, match="may or may not have had its effect"):
            await tool(connection, "die").acall()
        process.wait()
        with pytest.raises(ServerUnavailable):
            await tool(connection, "pid").acall()
        over_http(int(address.split(":")[2].split("/")[0]))
        clock.time = 6
        assert await pid_of(connection, tool) != before


OLD = r"""
import json, sys

print("Welcome to the old server!", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    method, number = asked.get("method"), asked.get("id")
    if number is None:
        continue
    print("{ half a line", flush=True)
    if method == "initialize":
        result = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": {"name": "old", "version": "1"}}
    elif method == "tools/list" and "cursor" not in (asked.get("params") or {}):
        result = {"tools": [{"name": "one", "inputSchema": {"type": "object"}}], "nextCursor": "more"}
    elif method == "tools/list":
        result = {"tools": [{"name": "two", "inputSchema": {"type": "object"}}]}
    elif method == "tools/call":
        result = {"content": "no list"} if asked["params"]["name"] == "two" else {"content": [{"type": "text", "text": "1"}]}
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "unknown"}}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}), flush=True)
"""


async def test_an_old_server_that_prints_what_it_should_not_works_and_its_pages_are_read(tool):
    async with connect([sys.executable, "-c", OLD]) as connection:
        assert [one.name for one in connection.tools] == ["one", "two"]
        assert await tool(connection, "one").acall() == "1"
        with pytest.raises(dspex.ToolError, match="Tool 'two' failed"):
            await tool(connection, "two").acall()
        assert await tool(connection, "one").acall() == "1"
