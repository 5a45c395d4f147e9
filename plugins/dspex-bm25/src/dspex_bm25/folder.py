"""An index on disk: a folder whose `index.json` names the subfolder of one state, and is replaced last."""

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
from bm25s import BM25

from dspex.plugin import Passage, RetrieverError, locked
from dspex_bm25.index import Built, Index
from dspex_bm25.options import BM25Options
from dspex_bm25.words import Vocabulary

FORMAT = "dspex-bm25"
VERSION = 1
HEAD = "index.json"
PASSAGES = "passages.jsonl"
VOCABULARY = "vocabulary.json"


class Head(msgspec.Struct, frozen=True):
    """What `index.json` says; `options` are those that decide about words and scores."""

    format: str
    version: int
    state: str
    count: int
    options: list[object]


def save(index: Index, folder: Path, options: BM25Options) -> None:
    """Write an index; the folder's last state is whole until the new one is. Raises RetrieverError."""
    built = _whole(index, options)
    head = Head(FORMAT, VERSION, secrets.token_hex(8), len(built.passages), _deciding(options))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(folder):  # who sweeps would take the files of a state that another has not finished
            _replace(folder, head, built)
    except OSError as error:
        raise RetrieverError(f"The index cannot be written to {folder}: {error.strerror or error}.") from error


def _whole(index: Index, options: BM25Options) -> Built:
    built = index.built()
    if not built.gone:
        return built
    rest = Index(options)
    rest.add([passage for passage in built.passages if passage.id not in built.gone])
    return rest.built()


def _replace(folder: Path, head: Head, built: Built) -> None:
    try:
        (folder / head.state).mkdir(mode=0o700)
        _write(folder / head.state, built)
        _create(folder / f"{HEAD}.{head.state}", [msgspec.json.format(msgspec.json.encode(head))])
        (folder / f"{HEAD}.{head.state}").replace(folder / HEAD)
    finally:
        _sweep(folder)


def _write(own: Path, built: Built) -> None:
    encoder = msgspec.json.Encoder()
    _create(own / PASSAGES, (encoder.encode(passage) + b"\n" for passage in built.passages))
    _create(own / VOCABULARY, [encoder.encode(list(built.vocabulary))])
    if built.scorer is not None:
        built.scorer.save(own, show_progress=False)
        for path in own.iterdir():
            path.chmod(0o600)


def open_index(folder: Path, options: BM25Options) -> Index:
    """The index in a folder; an empty one where there is none. Raises RetrieverError for one that cannot be used."""
    while True:
        state = _state(folder)
        try:
            return _open(folder, options)
        except RetrieverError:
            # Where another has saved meanwhile, the files of this state are gone, and those of the next are there.
            if _state(folder) == state:
                raise


def _open(folder: Path, options: BM25Options) -> Index:
    try:
        if (folder / HEAD).exists():
            return Index(options, _opened(folder, options))
        if folder.exists() and not folder.is_dir():
            raise RetrieverError(f"The index {folder} is no folder.")
        return Index(options)
    except (OSError, ValueError, KeyError, TypeError, msgspec.DecodeError) as error:
        raise _damaged(folder, f"{type(error).__name__}: {error}") from error


def _opened(folder: Path, options: BM25Options) -> Built:
    head = msgspec.json.decode((folder / HEAD).read_bytes(), type=Head)
    if head.format != FORMAT or head.version != VERSION:
        raise RetrieverError(
            f"The index {folder} has the format {head.format} {head.version}; this package reads {FORMAT} {VERSION}."
        )
    if head.options != _deciding(options):
        raise RetrieverError(
            f"The index {folder} was made with other options than k1, b, method, stopwords = {_deciding(options)}: "
            f"{head.options}. Open it with the same, or make it anew."
        )
    own = folder / head.state
    decoder = msgspec.json.Decoder(Passage)
    passages = [decoder.decode(line) for line in (own / PASSAGES).read_bytes().splitlines()]
    names = msgspec.json.decode((own / VOCABULARY).read_bytes(), type=list[str])
    vocabulary = Vocabulary({word: number for number, word in enumerate(names)})
    if len(passages) != head.count or len(vocabulary) != len(names):
        raise _damaged(folder, "its files do not belong together")
    if not vocabulary:
        return Built(None, passages, vocabulary, set())
    scorer = BM25.load(own, mmap=options.memory_map, load_vocab=False, show_progress=False)
    if scorer.scores["num_docs"] != head.count or len(scorer.scores["indptr"]) != len(vocabulary) + 1:
        raise _damaged(folder, "its files do not belong together")
    return Built(scorer, passages, vocabulary, set())


def _deciding(options: BM25Options) -> list[object]:
    return [options.k1, options.b, options.method, list(options.stopwords)]


def _create(path: Path, parts: Iterable[bytes]) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.writelines(parts)


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
    for path in folder.glob("[0-9a-f]" * 16):
        if path.name != state:
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(f"{HEAD}.{'[0-9a-f]' * 16}"):
        path.unlink(missing_ok=True)


def _damaged(folder: Path, how: str) -> RetrieverError:
    return RetrieverError(f"The index {folder} is damaged or is none: {how}.")
