"""What a call of an MCP server's tool costs through dspex, beside the same call through the package `mcp` alone.

    python benchmarks/bench_mcp.py [--calls 300]

Prints milliseconds a call, one after another, over stdio and HTTP, the least of five rounds; needs dspex-mcp.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters

import dspex_mcp

SERVER = """
import socket, sys
import uvicorn
from mcp.server.mcpserver import MCPServer
server = MCPServer("adds", log_level="ERROR")
@server.tool()
def add(x: int, y: int) -> int:
    return x + y
if sys.argv[1:]:
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="critical")).run(sockets=[listening])
else:
    server.run()
"""


async def least(call: Callable[[], Awaitable[Any]], calls: int) -> float:
    """Milliseconds a call."""
    rounds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(calls):
            await call()
        rounds.append((time.perf_counter() - began) / calls * 1e3)
    return min(rounds)


async def measure(raw: Any, ours: Any, calls: int) -> tuple[float, float]:
    """The package alone, and through a Tool."""
    async with Client(raw) as client:
        await client.list_tools()
        alone = await least(lambda: client.call_tool("add", {"x": 1, "y": 2}), calls)
    async with dspex_mcp.connect(ours) as connection:
        [add] = connection.tools
        return alone, await least(lambda: add.acall(x=1, y=2), calls)


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=300)
    calls = options.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "adds.py"
        script.write_text(SERVER)
        words = [sys.executable, str(script)]
        stdio = asyncio.run(measure(StdioServerParameters(command=words[0], args=words[1:]), words, calls))
        process = subprocess.Popen([*words, "http"], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            address = f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
            http = asyncio.run(measure(address, address, calls))
        finally:
            process.kill()
    for name, (alone, through) in {"stdio": stdio, "HTTP": http}.items():
        print(f"{name:>6}: {alone:.2f} ms a call by mcp alone, {through:.2f} ms through dspex")


if __name__ == "__main__":
    main()
