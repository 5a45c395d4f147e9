"""A loop in a thread of its own, on which LiteLLM works: what it leaves behind on a loop, no loop of the user's has."""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from dspex_litellm.bounds import make_session

T = TypeVar("T")

CLOSE_S = 5.0


def load() -> Any:
    """LiteLLM, which takes seconds to import, told to be quiet.

    Without these words its import asks a server of its authors for prices, and reads whatever .env file lies about.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import litellm

    litellm.telemetry = False
    # Else it counts some models' tokens by files that it fetches, holding up its loop.
    litellm.disable_hf_tokenizer_download = True
    litellm.suppress_debug_info = True
    return litellm


class Desk:
    """One thread and its loop; used from any other loop, until `aclose`."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.ready: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._session: Any = None
        self._stopped: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="litellm", daemon=True)
        self._thread.start()

    async def started(self) -> Any:
        """LiteLLM, once it is imported. Raises what its import does."""
        return await asyncio.shield(asyncio.wrap_future(self.ready))

    def session(self) -> Any:
        """What LiteLLM's client goes by; asked for here only, as it belongs to this loop."""
        if self._session is None:
            self._session = make_session()
        return self._session

    async def call(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """`work(litellm)`, done here; it is cancelled as the caller is."""
        litellm = await self.started()
        assert self._loop is not None
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(work, litellm), self._loop))

    async def items(self, open_stream: Callable[[Any], Awaitable[Any]]) -> AsyncIterator[Any]:
        """What an async iterator gives that `open_stream(litellm)` opens here; it is closed as the caller leaves."""
        stream = await self.call(open_stream)
        try:
            while (item := await self.call(lambda _: _next(stream))) is not _END:
                yield item
        finally:
            # Nobody waits for it: LiteLLM may be deep in a line without end, and a caller's time is over.
            assert self._loop is not None
            if not self._loop.is_closed():
                asyncio.run_coroutine_threadsafe(_closed(stream), self._loop)

    async def aclose(self) -> None:
        """End what is under way, and the thread."""
        if self.pid != os.getpid():
            return  # it lives in the parent
        with suppress(Exception):  # an import that failed has been told by the calls
            await self.started()
        if self._loop is not None and self._stopped is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped.set)
        await asyncio.to_thread(self._thread.join, CLOSE_S)

    def _run(self) -> None:
        try:
            litellm = load()
        except BaseException as error:  # noqa: BLE001  it is for who waits, whatever it is
            self.ready.set_exception(error)
            return
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._stopped = asyncio.Event()
            self.ready.set_result(litellm)
            runner.run(self._serve(litellm))

    async def _serve(self, litellm: Any) -> None:
        assert self._stopped is not None
        await self._stopped.wait()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        with suppress(Exception):  # LiteLLM's own clean-up, which is not to keep us
            await litellm.close_litellm_async_clients()
        if self._session is not None:
            await self._session.close()
        await asyncio.sleep(0)  # transports close in the loop's next turn


_END = object()


async def _awaited(work: Callable[[Any], Awaitable[T]], litellm: Any) -> T:
    return await work(litellm)


async def _next(stream: Any) -> Any:
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return _END


async def _closed(stream: Any) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        with suppress(Exception):  # a stream that failed may fail again here
            await close()
