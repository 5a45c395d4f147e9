"""The engine's native library: its types as we use them, how it is imported, and how it survives a fork."""

import ctypes
import importlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

from dspex.plugin import ConfigurationError, PluginError
from dspex_llamacpp.options import LlamaCppOptions

Chunk = Mapping[str, Any]
OnChunk = Callable[[Chunk], bool]

# One of these is missing in slim container images; the wheel links the system's.
DEBIAN_PACKAGES = {"libgomp.so.1": "libgomp1", "libstdc++.so.6": "libstdc++6"}
# A prompt is read in such batches, and a cancelled call ends between two of them: 0.6 s on a slow core instead of 10 s
# with the engine's own 2048, at the same cost a token.
BATCH_TOKENS = 128
# Prefixes of prompts that were pushed out of their slot. With one slot and two prefixes in turn it saves two thirds of
# the CPU; a token takes 18 KB.
PROMPT_CACHE_MIB = 128
# A small model writes faster on one thread than on two that wake each other for every matrix: 34 tokens/s at 28 ms of
# CPU against 23 at 46, on two cores. Reading a prompt, two threads are 1.6 times as fast at the same CPU.
SMALL_BYTES = 512 << 20
MOST_THREADS = 8

# How the states of a text's tokens become one vector; "own" is what the model's file says.
POOLINGS = MappingProxyType(
    {
        "own": "LLAMA_POOLING_TYPE_UNSPECIFIED",
        "mean": "LLAMA_POOLING_TYPE_MEAN",
        "cls": "LLAMA_POOLING_TYPE_CLS",
        "last": "LLAMA_POOLING_TYPE_LAST",
    }
)

# Whether this process is a fork of one that had a model open. It mirrors state of the native library, which is one a
# process too: filled in the child, once, and copied by the fork of a fork.
_inherited: list[bool] = []


class NativeServer(Protocol):
    """A loaded model. Each call blocks its thread, and hands every chunk to the callback, which ends it with True."""

    def handle_completions(self, body: Mapping[str, Any], on_chunk: OnChunk) -> None: ...

    def handle_chat_completions(self, body: Mapping[str, Any], on_chunk: OnChunk) -> None: ...

    def handle_embeddings(self, body: Mapping[str, Any]) -> Mapping[str, Any]: ...


class ThreadParams(Protocol):
    """How many threads compute."""

    n_threads: int


class ModelParams(Protocol):
    """Which file to load."""

    path: str


class Params(Protocol):
    """The engine's settings, as far as we set them."""

    model: ModelParams
    cpuparams: ThreadParams
    cpuparams_batch: ThreadParams
    api_keys: list[str]
    model_alias: set[str]
    chat_template: str
    n_parallel: int
    n_ctx: int
    n_batch: int
    n_ubatch: int
    n_threads_http: int
    cache_ram_mib: int
    verbosity: int
    swa_full: bool
    fit_params: bool
    warmup: bool
    offline: bool
    ui: bool
    embedding: bool
    pooling_type: Any


class Library(Protocol):
    """What we use of xllamacpp, which has no type hints."""

    CommonParams: Callable[[], Params]
    llama_pooling_type: Any
    Server: Callable[[Params], NativeServer]
    json_schema_to_grammar: Callable[[Mapping[str, Any]], str]


def load_library() -> Library:
    """The native library. Raises PluginError that names the system package it lacks."""
    before = os.environ.get("OMP_WAIT_POLICY")
    # Read once, when the library is loaded. Threads that spin while they wait take the CPU of whoever runs beside them.
    os.environ["OMP_WAIT_POLICY"] = before or "passive"
    try:
        return cast("Library", importlib.import_module("xllamacpp"))
    except ImportError as error:
        raise _cannot_load(error) from error
    finally:
        if before is None:
            del os.environ["OMP_WAIT_POLICY"]


def _cannot_load(error: ImportError) -> PluginError:
    for library, package in DEBIAN_PACKAGES.items():
        if library in str(error):
            return PluginError(
                f"The engine of the llamacpp provider needs {library}, which this system lacks. On Debian and Ubuntu: "
                f"apt-get install {package}",
                plugin="llamacpp",
            )
    return PluginError(
        f"The engine of the llamacpp provider cannot be loaded: {error}. Install it again: pip install xllamacpp",
        plugin="llamacpp",
    )


def open_server(
    library: Library, path: Path, name: str, options: LlamaCppOptions, pooling: str | None = None
) -> NativeServer:
    """Load a model, which takes about a second; `pooling`, as in `POOLINGS`, makes it one that embeds.

    Raises ConfigurationError for what the engine cannot load.
    """
    params = library.CommonParams()
    params.model.path = str(path)
    params.model_alias = {name}
    params.n_parallel = options.slots
    params.n_ctx = options.context * options.slots
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    small = path.stat().st_size < SMALL_BYTES
    params.cpuparams.n_threads = options.threads or (1 if small else usable_threads())
    params.cpuparams_batch.n_threads = options.threads or usable_threads()
    params.cache_ram_mib = 0 if options.deterministic else PROMPT_CACHE_MIB
    # Keeps the whole of a sliding window, without which Gemma cannot reuse a prefix.
    params.swa_full = True
    params.fit_params = params.warmup = params.ui = False
    params.offline = True
    params.verbosity = 0
    # The engine always listens on a port of 127.0.0.1. Nobody gets this key: we call it in the process, without one.
    params.api_keys = [secrets.token_urlsafe()]
    params.n_threads_http = 1
    if pooling is not None:
        params.embedding = True
        # A model that reads both ways needs its whole text in one batch.
        params.n_batch = params.n_ubatch = options.context
        params.pooling_type = getattr(library.llama_pooling_type, POOLINGS[pooling])
    if options.chat_template is not None:
        params.chat_template = options.chat_template
    try:
        return library.Server(params)
    except RuntimeError as error:
        raise ConfigurationError(
            f"The engine cannot open {path} as a model ({error}). The file is damaged or cut short, is of a kind that "
            f"this xllamacpp does not know yet, or there is too little memory for context={options.context} and "
            f"slots={options.slots}."
        ) from error


def usable_threads() -> int:
    """One a core that this process may use, up to where a small model gains nothing more."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_THREADS)


def abandon_in_child(server: NativeServer | None) -> None:
    """In a forked child: keep the parent's server from ever being touched.

    Its threads do not exist here, so that a call on it, its destructor and those of the library's own objects at exit
    all wait for ever. The object is made immortal, and the process ends before the library's destructors run; Python's
    own clean-up and the exit status stay as they are.
    """
    if server is not None:
        make_immortal(server)
    if _inherited:
        return
    _inherited.append(True)
    libc = ctypes.CDLL(None)
    # glibc only; elsewhere a child that does not leave by os._exit may hang when it ends.
    if hasattr(libc, "on_exit"):
        libc.on_exit(libc._exit, None)


def let_go(server: NativeServer) -> None:
    """Be ready for a server's last reference to go, which frees it; in a forked child it can only be leaked."""
    if _inherited:
        make_immortal(server)


def make_immortal(server: NativeServer) -> None:
    """Keep a server alive until the process has ended: its destructor would wait for ever."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))
