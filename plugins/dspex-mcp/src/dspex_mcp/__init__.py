"""MCP for dspex: the tools of its servers in programs, and programs as tools of a server."""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dspex.plugin import hookimpl

if TYPE_CHECKING:
    from dspex_mcp.connection import Connection, connect
    from dspex_mcp.errors import ServerUnavailable
    from dspex_mcp.programs import ProgramServer
    from dspex_mcp.servers import Http, Stdio
    from dspex_mcp.serving import aserve, http_app, serve

__all__ = [
    "Connection",
    "Http",
    "ProgramServer",
    "ServerUnavailable",
    "Stdio",
    "aserve",
    "connect",
    "dspex_commands",
    "http_app",
    "serve",
]

_HOMES = MappingProxyType(
    {
        **dict.fromkeys(("Connection", "connect"), "connection"),
        **dict.fromkeys(("Http", "Stdio"), "servers"),
        **dict.fromkeys(("aserve", "http_app", "serve"), "serving"),
        "ProgramServer": "programs",
        "ServerUnavailable": "errors",
    }
)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dspex_mcp' has no attribute {name!r}")
    return getattr(import_module(f"dspex_mcp.{_HOMES[name]}"), name)


@hookimpl
def dspex_commands() -> list[Any]:
    """`dspex mcp`: offer a saved program as a tool, or look at a server's tools."""
    from dspex_mcp.command import mcp

    return [mcp]
