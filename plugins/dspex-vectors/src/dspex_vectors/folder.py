"""An index on disk: a folder whose `index.json` names the files of one state, and is replaced last."""

import mmap
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from dspex.plugin import Passage, RetrieverError, locked
from dspex_vectors.graph import Graph, is_installed
from dspex_vectors.index import Index, Snapshot
from dspex_vectors.options import VectorsOptions
from dspex_vectors.records import Records, Stored
from dspex_vectors.rows import Floats, normalized

FORMAT = "dspex-vectors"
VERSION = 1
HEAD = "index.json"
AT_A_TIME = 1 << 14


class Head(msgspec.Struct, frozen=True):
    """What `index.json` says; `state` is part of the names of the files that belong to it."""

    format: str
    version: int
    state: str
    count: int
    dim: int
    normalize: bool
    embedder: dict[str, Any] | None = None
    has_graph: bool = False


class DspyHead(msgspec.Struct, frozen=True):
    """What DSPy's Embeddings write into `config.json`."""

    corpus: list[str]
    normalize: bool = True


def save(index: Index, folder: Path, embedder: Mapping[str, Any] | None, *, normalize: bool) -> None:
    """Write an index; the folder's last state is whole until the new one is. Raises RetrieverError."""
    now = index.snapshot()
    head = Head(FORMAT, VERSION, secrets.token_hex(8), 0, 0, normalize, dict(embedder) if embedder else None)
    try:
        _make_private(folder)
        with locked(folder):  # who sweeps would take the files of a state that another has not finished
            _replace(folder, head, now)
    except OSError as error:
        raise RetrieverError(f"The index cannot be written to {folder}: {error.strerror or error}.") from error


def _replace(folder: Path, head: Head, now: Snapshot | None) -> None:
    state = head.state
    try:
        if now is not None:
            has_graph = _write_graph(folder, state, now)
            count, dim = _write(folder, state, now), now.view.dim
            head = msgspec.structs.replace(head, count=count, dim=dim, has_graph=has_graph)
        with _created(folder / f"{HEAD}.{state}") as file:
            file.write(msgspec.json.format(msgspec.json.encode(head)))
        (folder / f"{HEAD}.{state}").replace(folder / HEAD)
    finally:
        _sweep(folder)


def _write(folder: Path, state: str, now: Snapshot) -> int:
    alive = None if now.alive is None else now.alive.copy()
    places = np.arange(now.view.count) if alive is None else np.flatnonzero(alive)
    offsets = np.zeros(len(places) + 1, np.int64)
    with _created(_file(folder, state, "records")) as file:
        for number, place in enumerate(places):
            offsets[number + 1] = offsets[number] + file.write(now.records.encoded(int(place)))
    with _created(_file(folder, state, "offsets.npy")) as file:
        np.save(file, offsets)
    with _created(_file(folder, state, "vectors.npy")) as file:
        shape = {"descr": "<f4", "fortran_order": False, "shape": (len(places), now.view.dim)}
        np.lib.format.write_array_header_1_0(file, shape)
        for start, rows in now.view.pieces():
            for begins in range(0, len(rows), AT_A_TIME):
                some = rows[begins : begins + AT_A_TIME]
                own = some if alive is None else some[alive[start + begins : start + begins + len(some)]]
                file.write(np.ascontiguousarray(own, "<f4").data)
    return len(places)


def _write_graph(folder: Path, state: str, now: Snapshot) -> bool:
    # Its numbers are the places of rows, which move where some are gone.
    if now.graph is None or now.alive is not None or len(now.graph) != now.view.count:
        return False
    path = _file(folder, state, "usearch")
    now.graph.save(path)
    path.chmod(0o600)
    return True


def open_index(folder: Path, options: VectorsOptions, embedder: Mapping[str, Any] | None) -> Index:
    """The index in a folder; an empty one where there is none. Raises RetrieverError for one that cannot be used."""
    while True:
        state = _state(folder)
        try:
            return _open(folder, options, embedder)
        except RetrieverError:
            # Where another has saved meanwhile, the files of this state are gone, and those of the next are there.
            if _state(folder) == state:
                raise


def _open(folder: Path, options: VectorsOptions, embedder: Mapping[str, Any] | None) -> Index:
    try:
        if (folder / HEAD).exists():
            return _opened(folder, options, embedder)
        if (folder / "config.json").exists():
            return _opened_of_dspy(folder, options)
        if folder.exists() and not folder.is_dir():
            raise RetrieverError(f"The index {folder} is no folder.")
        return Index(options)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise _damaged(folder, str(error)) from error


def _opened(folder: Path, options: VectorsOptions, embedder: Mapping[str, Any] | None) -> Index:
    head = msgspec.json.decode((folder / HEAD).read_bytes(), type=Head)
    if head.format != FORMAT or head.version != VERSION:
        raise RetrieverError(
            f"The index {folder} has the format {head.format} {head.version}; this package reads {FORMAT} {VERSION}."
        )
    _check_maker(folder, head, options, embedder)
    if not head.count:
        return Index(options)
    mapping: Any = "r" if options.memory_map else None
    rows = np.load(_file(folder, head.state, "vectors.npy"), mmap_mode=mapping, allow_pickle=False)
    offsets = np.load(_file(folder, head.state, "offsets.npy"), mmap_mode=mapping, allow_pickle=False)
    data = _mapped(_file(folder, head.state, "records"))
    if rows.shape != (head.count, head.dim) or len(offsets) != head.count + 1 or offsets[-1] != len(data):
        raise _damaged(folder, "its files do not belong together")
    graph = None
    if head.has_graph and options.approximate_from is not None and is_installed():
        graph = Graph(head.dim, _file(folder, head.state, "usearch"))
    return Index.of(options, rows, Records(Stored(data, offsets)), graph)


def _check_maker(folder: Path, head: Head, options: VectorsOptions, embedder: Mapping[str, Any] | None) -> None:
    if head.normalize != options.normalize:
        raise RetrieverError(
            f"The index {folder} was made with normalize={head.normalize}: open it with the same, or make it anew."
        )
    theirs, ours = (
        {word: made.get(word) for word in ("provider", "model", "options")}
        for made in (head.embedder or {}, embedder or {})
    )
    if head.embedder and embedder and theirs != ours:
        raise RetrieverError(
            f"The vectors of the index {folder} are those of the embedder {theirs['provider']}/{theirs['model']} "
            f"{theirs['options'] or ''}, not of {ours['provider']}/{ours['model']} {ours['options'] or ''}: use that one, or "
            "make the index anew."
        )


def _opened_of_dspy(folder: Path, options: VectorsOptions) -> Index:
    head = msgspec.json.decode((folder / "config.json").read_bytes(), type=DspyHead)
    rows: Floats = np.load(folder / "corpus_embeddings.npy", allow_pickle=False).astype(np.float32, order="C")
    if rows.ndim != 2 or len(rows) != len(head.corpus):
        raise _damaged(folder, f"{len(head.corpus)} texts have vectors of the shape {rows.shape}")
    index = Index(options)
    if head.corpus:
        passages = [Passage(text, 0.0, str(place)) for place, text in enumerate(head.corpus)]
        index.add(passages, normalized(rows) if options.normalize else rows)
    return index


def _mapped(path: Path) -> Any:
    if not path.stat().st_size:
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _file(folder: Path, state: str, kind: str) -> Path:
    return folder / f"{state}.{kind}"


def _created(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _make_private(folder: Path) -> None:
    for path in reversed([folder, *folder.parents]):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)


def _state(folder: Path) -> str | None:
    try:
        return msgspec.json.decode((folder / HEAD).read_bytes(), type=Head).state
    except (OSError, msgspec.DecodeError):
        return None


def _sweep(folder: Path) -> None:
    # What another state, or one that was never finished, has left; who has it open keeps it.
    state = _state(folder)
    if state is None:
        return
    for kind in ("records", "offsets.npy", "vectors.npy", "usearch"):
        for path in folder.glob(f"{'[0-9a-f]' * 16}.{kind}"):
            if not path.name.startswith(state):
                path.unlink(missing_ok=True)
    for path in folder.glob(f"{HEAD}.{'[0-9a-f]' * 16}"):
        path.unlink(missing_ok=True)


def _damaged(folder: Path, how: str) -> RetrieverError:
    return RetrieverError(f"The index {folder} is damaged or is none: {how}.")
