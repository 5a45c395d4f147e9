"""A server that lies, and clients for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from dspex.core.clock import Clock, SystemClock
from dspex.core.endpoint import Endpoint
from dspex.core.errors import LMError
from dspex.core.secret import Secret
from dspex.core.wire import HttpLimits
from dspex.service.http import HttpService
from dspex.testing.fault_server import FaultServer

KEY = "sk-canary-0123456789"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
async def client(server: FaultServer) -> AsyncIterator[Callable[..., HttpService]]:
    """Makes clients of `server`, or of another `base_url`; small limits are keywords of HttpLimits."""
    made: list[HttpService] = []

    def client(
        base_url: str | None = None,
        *,
        key: str | None = KEY,
        error: Any = None,
        clock: Clock | None = None,
        **limits: Any,
    ) -> HttpService:
        secret = Secret(key, "the environment variable ACME_API_KEY") if key else None
        endpoint = Endpoint("acme", "acme-1", base_url or f"{server.url}/v1", secret)
        made.append(HttpService(endpoint, error=error, limits=HttpLimits(**limits), clock=clock or SystemClock()))
        return made[-1]

    yield client
    for http in made:
        await http.aclose()


@pytest.fixture
def http(client: Callable[..., HttpService]) -> HttpService:
    return client()


@pytest.fixture
def failure() -> Callable[[HttpService], Any]:
    """The error of one request, which must come well within the second that a test allows."""

    async def failure(http: HttpService) -> LMError:
        with pytest.raises(LMError) as caught:
            async with asyncio.timeout(5):
                await http.request("POST", "/chat", json={"q": 1}, headers={"Authorization": f"Bearer {KEY}"})
        error = caught.value
        assert len(str(error)) <= 1000
        assert KEY not in f"{error!s} {error!r} {error.__cause__!r} {error.__context__!r}"
        return error

    return failure
