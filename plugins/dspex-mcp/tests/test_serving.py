"""Programs as tools of an MCP server, asked by a real client: by stdio, and by HTTP on the loopback."""

import asyncio
import importlib.util
import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import uvicorn
from mcp import Client

import dspex
from dspex_mcp import Http, ProgramServer, ServerUnavailable, connect, http_app, serve
from dspex_mcp.standard_input import lines

FOLDER = Path(__file__).parent


@pytest.fixture(scope="session")
def programs():
    spec = importlib.util.spec_from_file_location("programs", FOLDER / "programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def offered(python):
    """A client of the programs in a process of their own."""
    async with connect([*python, str(FOLDER / "programs.py")], result_mode="structured") as connection:
        yield connection


async def test_a_program_is_a_tool_with_its_fields_and_instructions(offered, tool):
    assert [one.name for one in offered.tools] == ["sort", "count", "fail", "double", "picture"]
    assert offered.instructions == "Sort first."
    sort = tool(offered, "sort")
    assert sort.desc == "Sort a letter into a tray."
    assert sort.args["letter"] == {"type": "string", "description": "all of it"}
    assert sort.definition["parameters"]["required"] == ["letter"]
    assert await sort.acall(letter="Please pay.") == {"tray": "bills", "weight": 0.5}


async def test_what_a_program_prints_is_in_nobodys_way(offered, tool):
    assert await tool(offered, "count").acall(text="abc", times=2) == "6"
    assert await tool(offered, "double").acall(x=4) == "8"


async def test_a_picture_is_one_to_the_client(offered, tool):
    assert isinstance(await tool(offered, "picture").acall(), dspex.Image)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("wrong", "ValueError: it is wrong"),
        ("budget", "3 calls"),
        ("wait", "did not end within 2 s"),
    ],
)
async def test_what_goes_wrong_is_the_tools_error(offered, tool, how, said):
    with pytest.raises(dspex.ToolError, match=said):
        await tool(offered, "fail").acall(how=how)
    assert await tool(offered, "double").acall(x=4) == "8"


async def test_wrong_arguments_are_told_all_at_once(offered):
    found = await offered.call_tool("sort", {"leter": "x", "urgent": "perhaps"})
    assert found.is_error
    assert "'letter' is missing" in found.content[0].text
    assert "'leter' is unknown. Did you mean 'letter'?" in found.content[0].text
    assert "'urgent' should be bool" in found.content[0].text
    unknown = await offered.call_tool("sorts", {})
    assert unknown.is_error
    assert "Tools: sort, count" in unknown.content[0].text


async def test_many_calls_at_once(offered, tool):
    found = await asyncio.gather(*(tool(offered, "double").acall(x=n) for n in range(50)))
    assert found == [str(2 * n) for n in range(50)]


async def test_it_runs_under_the_settings_that_it_was_made_in(programs):
    with dspex.context(lm=dspex.testing.DummyLM([{"answer": "4"}])):
        server = ProgramServer(dspex.Predict("question -> answer"))
    async with Client(server.server) as client:
        found = await client.call_tool("predict", {"question": "2 + 2?"})
    assert found.structured_content == {"answer": "4"}


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ([], "needs a program"),
        ([dspex.Predict("a -> b"), dspex.Predict("c -> d")], "bear the name 'predict'"),
        (dspex.Module(), "neither `forward` nor `aforward`"),
        ({"a b": dspex.Predict("a -> b")}, "cannot be a tool's name"),
        (3, "made of a callable"),
    ],
    ids=["none", "two of a name", "no forward", "a name", "a number"],
)
def test_what_cannot_be_offered_is_refused(programs, said):
    with pytest.raises(dspex.ConfigurationError, match=said):
        ProgramServer(programs)


# HTTP


@pytest.fixture
async def site(programs):
    """The programs at an address, with a token."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = http_app(programs.OFFERED, token=dspex.Secret("t0ken"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none"))
    server.install_signal_handlers = lambda: None
    running = asyncio.create_task(server.serve(sockets=[listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    server.should_exit = True
    await running


BEARER = {"Authorization": "Bearer t0ken"}


async def test_over_http_a_client_with_the_token_gets_answers(site, tool):
    async with connect(Http(site, BEARER), result_mode="structured") as connection:
        assert await tool(connection, "sort").acall(letter="Please pay.") == {"tray": "bills", "weight": 0.5}


@pytest.mark.fault("X15")
async def test_a_client_without_the_token_gets_none(site):
    with pytest.raises(ServerUnavailable, match="HTTP 401 Unauthorized"):
        async with connect(site):
            pass
    async with httpx2.AsyncClient() as client:
        for headers in ({}, {"Authorization": "Bearer t0keN"}, {"Authorization": "Bearer"}):
            assert (await client.post(site, headers=headers, json={})).status_code == 401


@pytest.mark.fault("X15")
@pytest.mark.parametrize(
    ("headers", "status"), [({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403)], ids=str
)
async def test_a_page_in_a_browser_cannot_reach_it_by_a_name_of_its_own(site, headers, status):
    async with httpx2.AsyncClient() as client:
        accept = {"Accept": "application/json, text/event-stream"}
        reply = await client.post(site, headers={**BEARER, **accept, **headers}, json={})
    assert reply.status_code == status


@pytest.mark.fault("X15")
def test_an_open_server_needs_a_token(programs, monkeypatch):
    monkeypatch.delenv("DSPEX_MCP_TOKEN", raising=False)
    with pytest.raises(dspex.ConfigurationError, match="set DSPEX_MCP_TOKEN"):
        serve(programs.OFFERED, port=1, host="0.0.0.0")
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(dspex.ConfigurationError, match="cannot listen"),
    ):
        serve(programs.OFFERED, port=taken.getsockname()[1], token="t")
    with pytest.raises(dspex.ConfigurationError, match="is empty"):
        http_app(programs.OFFERED, token=" ")
    with pytest.raises(dspex.ConfigurationError, match="needs a token"):
        http_app(programs.OFFERED, token=None, hosts=["*"])


# The command


@pytest.fixture
def saved(programs, tmp_path):
    without_model = programs.clerk.deepcopy()
    without_model.set_lm(None)
    without_model.save(tmp_path / "clerk.json")
    (tmp_path / "programs.py").write_text((FOLDER / "programs.py").read_text())
    return tmp_path


DSPEX = [sys.executable, "-m", "dspex", "mcp", "serve", "clerk.json", "--program", "programs:clerk"]


async def test_it_is_offered_at_a_port_with_a_token_that_is_told(saved, tool):
    environment = {name: value for name, value in os.environ.items() if name != "DSPEX_MCP_TOKEN"}
    words = [*DSPEX, "--port", "0", "--name", "sorts"]
    process = subprocess.Popen(words, cwd=saved, stderr=subprocess.PIPE, text=True, env=environment)  # noqa: ASYNC220
    try:
        address, _, token = (
            (await asyncio.to_thread(process.stderr.readline)).strip().partition(" takes Authorization: ")
        )
        async with connect(Http(address, {"Authorization": token})) as connection:
            assert '"bills"' in await tool(connection, "sorts").acall(letter="x")
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 10) in (0, 130, -signal.SIGINT)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


ASKED = b"""\
{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"clerk","arguments":{"letter":"x"}}}
"""


@pytest.mark.parametrize("end", ["Ctrl-C", "end of stdin"])
def test_a_saved_program_is_offered_by_a_command_until_ctrl_c_or_the_end_of_its_stdin(saved, end):
    process = subprocess.Popen(DSPEX, cwd=saved, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        process.stdin.write(ASKED)
        process.stdin.flush()
        _, called = json.loads(process.stdout.readline()), json.loads(process.stdout.readline())
        assert called["result"]["structuredContent"] == {"tray": "bills", "weight": 0.5}
        if end == "Ctrl-C":
            process.send_signal(signal.SIGINT)  # while it waits for a line
        else:
            process.stdin.close()
        process.wait(timeout=10)
        said = process.stderr.read()
        assert process.returncode in (0, 130)
        assert b"Traceback" not in said
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def test_a_stdin_that_is_no_file_is_left_to_the_sdk(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with lines() as found:
        assert found is None


async def test_a_call_that_the_client_gives_up_is_cancelled_in_the_program(python, tmp_path):
    script = tmp_path / "waits.py"
    script.write_text(
        "import asyncio, dspex, dspex_mcp\n"
        "ended = []\n"
        "class Waits(dspex.Module):\n"
        "    async def aforward(self) -> str:\n"
        "        try:\n"
        "            await asyncio.Event().wait()\n"
        "        finally:\n"
        "            ended.append(1)\n"
        "def count() -> int:\n"
        "    return len(ended)\n"
        "dspex_mcp.serve({'wait': Waits(), 'count': count})\n"
    )
    async with connect([*python, str(script)]) as connection:
        waits, count = connection.tools
        task = asyncio.create_task(waits.acall())
        assert await count.acall() == "0"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while await count.acall() != "1":
            pass
