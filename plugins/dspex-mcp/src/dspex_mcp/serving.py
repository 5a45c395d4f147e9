"""The ways in: stdio for a client that starts this process, HTTP for the others."""

import asyncio
import hmac
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from typing import Any, cast

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings

from dspex import ConfigurationError, Secret
from dspex_mcp.programs import ProgramServer
from dspex_mcp.standard_input import lines

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FROM_ENVIRONMENT = "DSPEX_MCP_TOKEN"


def serve(
    programs: Any, *, port: int | None = None, host: str = LOOPBACK[0], token: str | None = None, **options: Any
) -> None:
    """`aserve`, until the client goes or Ctrl-C is pressed."""
    asyncio.run(aserve(programs, port=port, host=host, token=token, **options))


async def aserve(
    programs: Any, *, port: int | None = None, host: str = LOOPBACK[0], token: str | None = None, **options: Any
) -> None:
    """Offer programs as tools: by stdin and stdout, or with a `port` (0: a free one) by HTTP at `http://host:port/mcp`.

    `programs` and `options` are those of `ProgramServer`. By stdio what the program prints goes to stderr. By HTTP each
    request needs `Authorization: Bearer TOKEN`: `token`, else the variable DSPEX_MCP_TOKEN, else one that is made and told
    on stderr. Raises ConfigurationError.
    """
    server = programs if isinstance(programs, ProgramServer) else ProgramServer(programs, **options)
    if port is None:
        with lines() as stdin:  # None: the SDK reads it itself
            async with stdio_server(stdin=cast("Any", stdin)) as (read, write):
                await server.server.run(read, write, server.server.create_initialization_options())
        return
    import uvicorn

    secret = token or os.environ.get(FROM_ENVIRONMENT) or _made(host)
    with _listening(host, port) as listening:
        here = f"{host}:{listening.getsockname()[1]}"
        app = http_app(server, token=secret, hosts=[here] if host in LOOPBACK else ["*"])
        shown = "" if secret in {token, os.environ.get(FROM_ENVIRONMENT)} else f" takes Authorization: Bearer {secret}"
        sys.stderr.write(f"http://{here}/mcp{shown}\n")
        await uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none")).serve(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(f"An MCP server cannot listen at {host}:{port}: {error.strerror or error}.") from error


def _made(host: str) -> str:
    if host not in LOOPBACK:
        raise ConfigurationError(f"A server that others can reach, at {host}, needs a token: set {FROM_ENVIRONMENT}.")
    return secrets.token_urlsafe(24)


def http_app(
    programs: Any, *, token: str | Secret | None, hosts: Sequence[str] = (), path: str = "/mcp", **options: Any
) -> Any:
    """An ASGI app that offers programs at `path`, to run under a server of yours.

    Requests need the `token`; None is for an app behind something that checks who asks. The Host header has to be one of
    `hosts` ("name", "name:port" or "name:*"; none: the loopback's), as a page in a browser must not reach it by a name of
    its own; ["*"] takes any, which is for a token only.
    """
    server = programs if isinstance(programs, ProgramServer) else ProgramServer(programs, **options)
    secret = token.reveal() if isinstance(token, Secret) else token
    if secret is not None and not secret.strip():
        raise ConfigurationError("The token of an MCP server is empty.")
    if secret is None and list(hosts) == ["*"]:
        raise ConfigurationError("An MCP server that anybody can ask needs a token, or hosts=.")
    inner = _app(server.server, hosts, path)
    return inner if secret is None else _Guarded(inner, secret)


def _app(server: Server[Any], hosts: Sequence[str], path: str) -> Any:
    names = list(hosts) or [f"{f'[{name}]' if ':' in name else name}:*" for name in LOOPBACK]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=names != ["*"],
        allowed_hosts=names,
        allowed_origins=[f"{scheme}://{name}" for name in names for scheme in ("http", "https")],
    )
    return server.streamable_http_app(streamable_http_path=path, transport_security=security)


class _Guarded:
    """Lets a request through that bears the token."""

    def __init__(self, app: Any, token: str) -> None:
        self._app = app
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] == "http" and not hmac.compare_digest(given, self._wanted):
            await send({"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]})
            await send({"type": "http.response.body", "body": b"This server needs its token."})
            return
        await self._app(scope, receive, send)
