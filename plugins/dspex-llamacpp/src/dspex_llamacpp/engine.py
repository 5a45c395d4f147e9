"""A model loaded in this process, the threads that use it, and how both end."""

import functools
import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from dspex.plugin import Unavailable
from dspex_llamacpp.catalogue import Source
from dspex_llamacpp.library import (
    NativeServer,
    OnChunk,
    abandon_in_child,
    let_go,
    load_library,
    make_immortal,
    open_server,
)
from dspex_llamacpp.options import EmbeddingOptions, LlamaCppOptions
from dspex_llamacpp.weights import has_chat_template, has_pooling, locate

T = TypeVar("T")

# A generation ends at the next token, a prompt at the next batch.
CLOSE_TIMEOUT_S = 10.0

logger = logging.getLogger("dspex_llamacpp")


class Slots:
    """Exactly `count` threads, and the line before them.

    They are daemons, unlike those of a ThreadPoolExecutor, which would keep the interpreter from ending until a
    generation is done.
    """

    def __init__(self, count: int) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=_work, args=(self._waiting,), name=f"dspex-llamacpp-{number}", daemon=True)
            for number in range(count)
        ]
        self._lock = threading.Lock()

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Do `work` on one of the threads, in order of arrival; cancelling helps until it has begun."""
        future: Future[T] = Future()
        with self._lock:
            for thread in self._threads:
                if thread.ident is None:
                    thread.start()
        self._waiting.put(functools.partial(_settle, future, work))
        return future

    def close(self, timeout: float) -> bool:
        """Let the threads end once the line is empty; whether they all did, within `timeout` seconds."""
        begun = [thread for thread in self._threads if thread.ident is not None]
        for _ in begun:
            self._waiting.put(None)
        last = time.monotonic() + timeout
        for thread in begun:
            thread.join(max(0.0, last - time.monotonic()))
        return not any(thread.is_alive() for thread in begun)


def _work(waiting: "queue.SimpleQueue[Callable[[], None] | None]") -> None:
    while (job := waiting.get()) is not None:
        job()
        # Else the last reply is held until the next call comes.
        del job


def _settle(future: "Future[T]", work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  # it reaches whoever waits for the future
        future.set_exception(error)
    else:
        future.set_result(result)
    finally:
        # The error's traceback holds this frame, and the frame would hold the error.
        del future, work


class Engine:
    """One model in one process, loaded by the first call that needs it.

    `chat` is known once it is loaded: whether the model takes turns, or only one plain prompt. With `embeds` it is one that
    makes vectors.
    """

    def __init__(self, source: Source, options: LlamaCppOptions, embeds: EmbeddingOptions | None = None) -> None:
        self.source = source
        self.options = options
        self._embeds = embeds
        self.chat: bool | None = None
        self.closing = threading.Event()
        self._slots = Slots(options.slots)
        self._server: NativeServer | None = None
        self._touched = False
        self._lock = threading.Lock()

    def submit(self, work: "Callable[[Engine], T]") -> "Future[T]":
        """`work(engine)` on a thread of the engine's own, once the model is loaded."""

        def job() -> T:
            self._make_ready()
            return work(self)

        return self._slots.submit(job)

    def generate(self, body: Mapping[str, Any], on_chunk: OnChunk) -> str | None:
        """One generation, chunk by chunk, on the calling thread; what is wrong with `body`, if it cannot be read."""
        server = self._server
        assert server is not None
        try:
            (server.handle_chat_completions if self.chat else server.handle_completions)(body, on_chunk)
        except (RuntimeError, TypeError, ValueError) as error:
            return str(error)
        finally:
            # An error that `on_chunk` keeps refers to this frame: whoever keeps that error would keep the model loaded.
            del server
        return None

    def embed(self, text: str) -> Mapping[str, Any]:
        """The engine's reply for one text, on the calling thread. Raises ValueError for a text that it cannot read."""
        server = self._server
        assert server is not None
        try:
            return server.handle_embeddings({"input": [text]})
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(str(error)) from error
        finally:
            del server  # as above

    def to_grammar(self, schema: Mapping[str, Any]) -> str:
        """A JSON schema as a grammar of the engine's."""
        return load_library().json_schema_to_grammar(schema)

    def close(self) -> None:
        """Stop what is generated now, refuse what waits, and free the model. May block for as long as a batch takes."""
        self.closing.set()
        ended = self._slots.close(CLOSE_TIMEOUT_S)
        server, self._server, self._touched = self._server, None, False
        if server is not None:
            let_go(server) if ended else make_immortal(server)

    def _make_ready(self) -> None:
        with self._lock:
            if self.closing.is_set():
                raise Unavailable("The model was closed with its App.", provider="llamacpp", retryable=False)
            if self._server is None:
                self._server = self._load()

    def _load(self) -> NativeServer:
        began = time.monotonic()
        source, options = self.source, self.options
        library = load_library()
        path = locate(source, options.sha256)
        if not self._touched and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=functools.partial(_forked, weakref.ref(self)))
        self._touched = True
        self.chat = self._takes_turns(path)
        server = open_server(library, path, source.name, options, self._pooling(path))
        logger.info("%s loaded from %s in %.1f s", source.name, path, time.monotonic() - began)
        if source.known is not None:
            logger.info("%s", source.known.notice)
        return server

    def _takes_turns(self, path: Path) -> bool:
        given = self.options
        if given.chat is not None or given.chat_template is not None:
            return given.chat is not False
        return self.source.known.chat if self.source.known else has_chat_template(path)

    def _pooling(self, path: Path) -> str | None:
        if self._embeds is None:
            return None
        return self._embeds.pooling or ("own" if has_pooling(path) else "mean")

    def forked(self) -> None:
        """In a child process: what this holds belongs to the parent."""
        if self._touched:
            abandon_in_child(self._server)


def _forked(reference: "weakref.ref[Engine]") -> None:
    engine = reference()
    if engine is not None:
        engine.forked()
