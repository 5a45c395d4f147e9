"""A server that lies by script, which LiteLLM takes for OpenAI."""

import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dspex
from dspex.testing import FaultServer, reset
from dspex.testing.fixtures import ask, server, stream

__all__ = ["ask", "server", "stream"]  # for pytest


@pytest.fixture(autouse=True)
def a_clean_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No key, address or cache of the machine's user, and an App of its own for each test."""
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_API_BASE", "_BASE_URL"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path))
    yield
    reset()


@pytest.fixture(scope="session", autouse=True)
def litellm() -> Any:
    """LiteLLM, imported once, and all that it makes kept out of garbage collection."""
    from dspex_litellm.desk import load

    gc.disable()
    litellm = load()
    gc.enable()
    gc.collect()
    gc.freeze()
    return litellm


@pytest.fixture
async def lm(server: FaultServer) -> AsyncIterator[Callable[..., dspex.LM]]:
    """Makes a model behind the scripted server, in an App that ends with the test; without a second attempt."""

    def lm(model: str = "openai/acme-1", **more: Any) -> dspex.LM:
        fixed = {"api_base": f"{server.url}/v1", "api_key": "k", "cache": False, "num_retries": 0}
        return dspex.LM(f"litellm/{model}", **{**fixed, **more})

    async with dspex.App():
        yield lm
