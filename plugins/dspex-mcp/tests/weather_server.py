"""An MCP server for the tests, as somebody else would write one: stdio, or with an argument HTTP at a port that it prints."""

import asyncio
import base64
import logging
import os
import signal
import socket
import sys
from typing import Literal

import uvicorn
from mcp.server.mcpserver import Image, MCPServer
from mcp.types import ToolAnnotations
from pydantic import BaseModel

server = MCPServer("weather", instructions="Ask for one city at a time.", log_level="ERROR")
logging.disable(logging.CRITICAL)
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
cancelled = []


class Place(BaseModel):
    city: str
    country: str = "Italy"


class Weather(BaseModel):
    degrees: float
    sky: str


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def forecast(city: str, days: int = 1, unit: Literal["C", "F"] = "C") -> str:
    """The weather of the next days."""
    return f"{city}: sunny for {days} days, 20 {unit}"


@server.tool()
def measured(place: Place) -> Weather:
    """What was measured at a place."""
    return Weather(degrees=20.5, sky=f"clear over {place.city}, {place.country}")


@server.tool(structured_output=False)
def picture() -> list[object]:
    """A picture of the sky."""
    return ["The sky now:", Image(data=PIXEL, format="png")]


@server.tool()
def fails(city: str) -> str:
    """Fails."""
    from mcp.server.mcpserver.exceptions import ToolError

    raise ToolError(f"there is no station in {city}")


@server.tool()
def long() -> str:
    """A long text."""
    return "x" * 10_000


@server.tool()
async def endless() -> str:
    """Never answers."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled.append(1)
        raise
    return ""


@server.tool()
def ended() -> int:
    """How many endless calls were cancelled."""
    return len(cancelled)


@server.tool()
def pid() -> int:
    """The process."""
    return os.getpid()


@server.tool()
def environment() -> str:
    """The names of the variables that it sees."""
    return " ".join(sorted(os.environ))


@server.tool()
def die() -> str:
    """Ends the server."""
    sys.stderr.write("out of memory\n")
    sys.stderr.flush()
    os._exit(3)


def main() -> None:
    mode = sys.argv[1] if sys.argv[1:] else "stdio"
    if mode == "broken":
        sys.exit("no configuration")
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server.run()
        signal.sigwait([signal.SIGUSR1])  # its stdin has ended, and it does not care
    if mode == "http":
        listening = socket.create_server(("127.0.0.1", int(sys.argv[2])))
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        app = server.streamable_http_app()
        uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listening])
    else:
        server.run()


main()
