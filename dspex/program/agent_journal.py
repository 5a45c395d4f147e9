"""An agent's run on disk: what has been answered is not asked again, and no finished call of a tool is run again."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from dspex.core.errors import InputError, JournalError, ProgramFileError
from dspex.core.identity import digest, plain
from dspex.program.saving import write_atomically
from dspex.program.types.observed import text_of
from dspex.runtime.journal import FORMAT, Journal
from dspex.runtime.records import Run, Sent, Step

T = TypeVar("T")

VARIABLES = "variables.bin"


class Memory(Protocol):
    """What a run has done before."""

    def found(self, key: str, kind: type[T]) -> T | None:
        """What was kept under a key, None if nothing was."""

    def keep(self, key: str, value: Any) -> None:
        """Keep what came of something."""

    def keep_variables(self, key: str, variables: bytes) -> None:
        """Keep a sandbox's variables as they are behind what that key names, in place of older ones."""

    def variables(self) -> tuple[str, bytes] | None:
        """Those that were kept last, and behind what."""

    def begin(self, key: str) -> bool:
        """Say that something is about to be done that must not be done twice. Returns False if it was begun before."""


class Forgetful:
    """Of a run that is not on disk."""

    def found(self, key: str, kind: type[T]) -> T | None:
        """Nothing."""
        return None

    def keep(self, key: str, value: Any) -> None:
        """Nothing is kept."""

    def keep_variables(self, key: str, variables: bytes) -> None:
        """Nothing is kept."""

    def variables(self) -> tuple[str, bytes] | None:
        """Nothing."""
        return None

    def begin(self, key: str) -> bool:
        """It is the first time."""
        return True

    def close(self) -> None:
        """There is nothing to close."""


class AgentJournal:
    """In a folder that one process owns at a time. Raises JournalError if it is of another agent or other inputs."""

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        self._journal = Journal(Path(folder))
        try:
            self._open(dict(identity))
        except BaseException:
            self._journal.close()
            raise
        records = self._journal.records
        self._kept = {record.key: record.value for record in records if isinstance(record, Step)}
        self._begun = {record.key for record in records if isinstance(record, Sent)}

    def _open(self, identity: dict[str, Any]) -> None:
        records = self._journal.records
        if not records:
            self._journal.append(Run(FORMAT, digest(identity), identity))
        elif not isinstance(records[0], Run) or records[0].identity != identity:
            raise JournalError(
                f"The folder {self._journal.folder} is of another run: the agent, its tools or the inputs are not the same. "
                "Choose another run_dir."
            )

    def found(self, key: str, kind: type[T]) -> T | None:
        """What was kept under a key."""
        value = self._kept.get(key)
        return None if value is None else msgspec.json.decode(value, type=kind)

    def keep(self, key: str, value: Any) -> None:
        """Keep a value; what has no form in JSON, as its text."""
        self._journal.append(Step(key, "agent", msgspec.Raw(msgspec.json.encode(value, enc_hook=_as_data))))

    def keep_variables(self, key: str, variables: bytes) -> None:
        """In a file of their own; where that cannot be written they are made again instead."""
        head = msgspec.json.encode([key, hashlib.blake2b(variables, digest_size=16).hexdigest()])
        with suppress(ProgramFileError):
            write_atomically(self._journal.folder / VARIABLES, head + b"\n" + variables)

    def variables(self) -> tuple[str, bytes] | None:
        """None too for a file that is damaged."""
        try:
            head, _, variables = (self._journal.folder / VARIABLES).read_bytes().partition(b"\n")
            key, known = msgspec.json.decode(head, type=tuple[str, str])
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return (key, variables) if hashlib.blake2b(variables, digest_size=16).hexdigest() == known else None

    def begin(self, key: str) -> bool:
        """On disk before it is done, also if the power goes."""
        if key in self._begun:
            return False
        self._journal.append(Sent(key))
        self._journal.sync()
        return True

    def close(self) -> None:
        """Let the folder go."""
        self._journal.close()


def _as_data(value: Any) -> Any:
    try:
        return plain(value)
    except Exception:  # noqa: BLE001  whatever an object of a tool's own raises
        return text_of(value)


def run_words(given: dict[str, Any], most: int) -> tuple[int, "str | Path | None"]:
    """Take the words of one run out of a call: `max_iters` (`most` without) and `run_dir`. Raises InputError."""
    max_iters, folder = given.pop("max_iters", most), given.pop("run_dir", None)
    if not isinstance(max_iters, int) or max_iters < 0:
        raise InputError(f"A run's max_iters is a whole number, 0 or more, not {max_iters!r:.80}.")
    if not isinstance(folder, (str, Path, type(None))):
        raise InputError(f"A run's run_dir is the path of a folder, not {folder!r:.80}.")
    return max_iters, folder


def opened(folder: "str | Path | None", agent: Any, inputs: Mapping[str, Any]) -> "AgentJournal | Forgetful":
    """The journal of a run, if it has a folder."""
    if folder is None:
        return Forgetful()
    from dspex.program.fingerprint import fingerprint

    return AgentJournal(folder, {"agent": digest(fingerprint(agent)), "inputs": digest(fingerprint(inputs))})
