"""Connections to PostgreSQL, on a loop and thread of their own: they are bound to a loop, and callers come from several."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from dspex.plugin import AuthError, LMError, RetrieverError, Unavailable

T = TypeVar("T")

CONNECT_S = 10.0
CLOSE_S = 5.0
STATEMENT_S = 120.0
# Interface and internal errors are those of a connection that is gone.
AWAY = (
    *(OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError, asyncpg.TooManyConnectionsError),
    *(asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.AdminShutdownError, TimeoutError),
)
NOT_ALLOWED = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)


class Database:
    """A pool of connections; the first `run` begins the thread, and `aclose` ends it."""

    def __init__(self, dsn: str, password: str | None, connections: int) -> None:
        self._dsn = dsn
        self._password = password
        self._connections = connections
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pool: Any = None
        self._opening: asyncio.Lock | None = None

    async def run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """What `work(connection)` gives. Raises Unavailable, AuthError, RetrieverError."""
        future = asyncio.run_coroutine_threadsafe(self._run(work), self._running())
        try:
            return await asyncio.wrap_future(future)
        except (asyncpg.PostgresError, ValueError, *AWAY) as error:
            raise told(error) from error

    async def _run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        async with (await self._opened()).acquire() as connection:
            return await work(connection)

    async def _opened(self) -> Any:
        opening = self._opening = self._opening or asyncio.Lock()
        async with opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    password=self._password,
                    min_size=0,
                    max_size=self._connections,
                    timeout=CONNECT_S,
                    command_timeout=STATEMENT_S,
                )
            return self._pool

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            self._begin()  # in a forked child: thread and connections are the parent's
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop,), name="dspex-pgvector", daemon=True
                )
                self._thread.start()
            return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def aclose(self) -> None:
        """Close the connections, and end the thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), loop))
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)

    async def _close(self) -> None:
        pool, self._pool, self._opening = self._pool, None, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), CLOSE_S)
            except (TimeoutError, asyncpg.InterfaceError):
                pool.terminate()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


def told(error: Exception) -> LMError | RetrieverError:
    """An error of the driver as one of ours."""
    if isinstance(error, NOT_ALLOWED):
        return AuthError(f"PostgreSQL lets this user not in: {error}. The password is api_key=.", provider="pgvector")
    if isinstance(error, AWAY):
        said = str(error) or type(error).__name__
        return Unavailable(f"PostgreSQL cannot be reached: {said:.300}", provider="pgvector")
    return RetrieverError(f"PostgreSQL refuses: {type(error).__name__}: {error!s:.400}")
