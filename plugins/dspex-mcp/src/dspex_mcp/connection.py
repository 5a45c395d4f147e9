"""A server that is kept connected: a supervised child of the App, begun anew when it dies."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Literal, Self, TypeVar

from mcp import Client, MCPError
from mcp.types import CONNECTION_CLOSED, CallToolResult

from dspex import App, ConfigurationError, SupervisorFailed, Tool
from dspex.app.app import current_app
from dspex_mcp.errors import ServerUnavailable, reason
from dspex_mcp.servers import Server, server_at
from dspex_mcp.transport import opened

T = TypeVar("T")

CONNECT_S = 15.0
CALL_S = 60.0
MOST_CHARACTERS = 50_000
REST_S = 5.0  # how long a server that died too often is left alone
_FORGOTTEN = "Session terminated"  # what the client says of an HTTP server that knows our session no more


def connect(
    server: Server | str | Sequence[str],
    *,
    prefix: str = "",
    only: Iterable[str] | None = None,
    timeout_s: float | None = CALL_S,
    max_output_chars: int | None = MOST_CHARACTERS,
    confirm: Callable[[Tool, Mapping[str, Any]], Any] | None = None,
    idempotent: bool | None = None,
    result_mode: Literal["text", "structured"] = "text",
    connect_s: float = CONNECT_S,
) -> "Connection":
    """A server's tools, for `async with` or `with`: an address, a command with arguments in a list, `Stdio` or `Http`.

    `prefix` goes before the tools' names, `only` chooses among them. The other arguments are those of each tool, see
    `dspex.Tool.from_mcp_tool`; `connect_s` is the time to connect, and to connect again.
    """
    terms = {
        "timeout_s": timeout_s,
        "max_output_chars": max_output_chars,
        "confirm": confirm,
        "idempotent": idempotent,
        "result_mode": result_mode,
    }
    return Connection(server_at(server), terms, prefix, None if only is None else frozenset(only), connect_s)


class Connection:
    """One server. `tools` are those it had when it was connected; `refresh` asks again.

    It lives on the App's loop, and is called from any loop or thread. Where the server dies, the call in flight raises
    ServerUnavailable, the App's supervisor connects anew, and calls that come meanwhile wait, for `connect_s` at most. One
    that dies more than 3 times in 5 s is left alone for 5 s: calls then raise at once; the first one later tries again.
    """

    def __init__(
        self, server: Server, terms: Mapping[str, Any], prefix: str, only: frozenset[str] | None, connect_s: float
    ) -> None:
        self.server = server
        self.name = server.name
        self.tools: tuple[Tool, ...] = ()
        self.instructions = ""
        self.cache_key = server.identity
        self._terms = terms
        self._prefix = prefix
        self._only = only
        self._connect_s = connect_s
        self._app: App | None = None
        self._client: Client | None = None
        self._waiters: set[asyncio.Future[Client]] = set()
        self._gone: asyncio.Event | None = None
        self._gave_up: tuple[float, str] | None = None
        self._why = ""
        self._is_wanted = False

    # Its life

    async def start(self) -> Self:
        """Connect, and read the list of tools. Raises ServerUnavailable, ConfigurationError."""
        if self._app is not None:
            raise ConfigurationError(f"The MCP server {self.name} is connected already: enter a connection once.")
        app = self._app = current_app()
        self._child = f"mcp {self.name:.60} {id(self):x}"
        try:
            await self.refresh()
        except BaseException:
            self._app = None
            await self._on(app.loop, self._end(app))
            raise
        return self

    async def aclose(self) -> None:
        """End it; a command is ended too."""
        app, self._app = self._app, None
        if app is not None:
            await self._on(app.loop, self._end(app))

    async def _end(self, app: App) -> None:
        self._is_wanted = False  # a child that was asked for and has not begun will see it
        await app.supervisor.remove(self._child)
        self._gone = self._gave_up = None
        self._answer(ServerUnavailable(f"The MCP server {self.name} was disconnected.", server=self.name))

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        app = current_app()
        if asyncio._get_running_loop() is app.loop:
            raise ConfigurationError("Within `async with App()` a connection is entered by `async with`.")
        return app.bridge.run(self.start())

    def __exit__(self, *_error: object) -> None:
        current_app().bridge.run(self.aclose())

    async def _live(self) -> None:
        if not self._is_wanted:
            return
        gone = self._gone = asyncio.Event()

        def lost() -> None:
            self._client = None  # closing takes its time, and no call may begin meanwhile
            gone.set()

        try:
            async with opened(self.server, self._connect_s, lost) as client:
                self.instructions = client.instructions or ""
                self._up(client)
                await gone.wait()
                raise ConnectionResetError("it went away")
        except asyncio.CancelledError:  # the App ends, or this does: nobody connects again
            self._app = None
            raise
        except Exception as error:
            self._why = "; ".join([reason(error), *getattr(error, "__notes__", ())])
            raise self._unavailable(self._why) from error
        finally:
            self._client = None

    def _up(self, client: Client) -> None:
        self._client, self._gave_up = client, None
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(client)

    def _answer(self, error: ServerUnavailable) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)

    def _down(self, _error: SupervisorFailed) -> None:
        if self._app is not None:
            self._gave_up = self._app.clock.monotonic(), self._why
        self._answer(self._unavailable(self._why))

    def _unavailable(self, why: str) -> ServerUnavailable:
        return ServerUnavailable(f"The MCP server {self.name} is not available: {why}", server=self.name)

    # Calls

    async def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None) -> CallToolResult:
        """Call a tool by the server's own name for it. Raises ServerUnavailable; MCPError, as the server answers."""
        return await self._at_home(self._called(name, dict(arguments or {})))

    async def refresh(self) -> tuple[Tool, ...]:
        """Ask for the tools again. Raises ServerUnavailable, MCPError; ConfigurationError for a name it has not."""
        listed = await self._at_home(self._listed())
        named = {tool.name: tool for tool in listed if self._only is None or tool.name in self._only}
        if absent := sorted((self._only or frozenset()) - named.keys()):
            raise ConfigurationError(
                f"The MCP server {self.name} has no tool {absent[0]!r}; it has: "
                f"{', '.join(sorted(tool.name for tool in listed)) or 'none'}."
            )
        self.tools = tuple(
            Tool.from_mcp_tool(self, tool, name=f"{self._prefix}{name}", **self._terms) for name, tool in named.items()
        )
        return self.tools

    async def _called(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        client = await self._connected()
        try:
            return await client.call_tool(name, arguments)
        except MCPError as error:
            if error.message == _FORGOTTEN:  # it was refused, not begun
                self._lose(client)
                return await (await self._connected()).call_tool(name, arguments)
            if error.code != CONNECTION_CLOSED:
                raise
            self._lose(client)
            raise ServerUnavailable(
                f"The MCP server {self.name} went away during the call of {name!r}, which may or may not have had its effect.",
                server=self.name,
            ) from error

    async def _listed(self) -> list[Any]:
        client, found, cursor = await self._connected(), list[Any](), None
        try:
            while True:
                page = await client.list_tools(cursor=cursor, cache_mode="refresh")
                found += page.tools
                cursor = page.next_cursor
                if not cursor:
                    return found
        except MCPError as error:
            if error.code != CONNECTION_CLOSED and error.message != _FORGOTTEN:
                raise
            self._lose(client)
            raise self._unavailable("it went away while it listed its tools") from error

    def _lose(self, client: Client) -> None:
        if self._client is client:
            self._client = None
            if self._gone is not None:
                self._gone.set()

    async def _connected(self) -> Client:
        """The client, waited for while the server is connected anew."""
        if self._client is not None:
            return self._client
        app = self._app
        if app is None:
            raise self._unavailable("it was disconnected")
        self._supervise(app)
        waiter: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(self._connect_s):
                return await waiter
        except TimeoutError:
            raise self._unavailable(self._why or f"it did not answer within {self._connect_s:g} s") from None
        finally:
            self._waiters.discard(waiter)

    def _supervise(self, app: App) -> None:
        """See that something connects. Raises ServerUnavailable where it died too often just now."""
        if self._gave_up is not None:
            at, why = self._gave_up
            if app.clock.monotonic() < at + REST_S:
                raise self._unavailable(f"{why}. It is tried again in a few seconds.")
        elif self._gone is not None:
            return
        self._gave_up = None
        self._gone = asyncio.Event()
        self._is_wanted = True
        app.supervise(self._child, self._live, "transient", self._down)

    # Loops

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that it lives on."""
        return None if self._app is None else self._app.loop

    async def _at_home(self, work: Coroutine[Any, Any, T]) -> T:
        if self._app is None:
            work.close()
            raise self._unavailable("it is not connected: use it inside `with` or `async with`")
        return await self._on(self._app.loop, work)

    async def _on(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
        if loop is asyncio.get_running_loop():
            return await work
        if not loop.is_running():
            work.close()
            raise self._unavailable("the App that it was connected in has ended")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    def __repr__(self) -> str:
        state = "connected" if self._client is not None else "not connected"
        return f"Connection({self.server!r}, {state}, {len(self.tools)} tools)"
