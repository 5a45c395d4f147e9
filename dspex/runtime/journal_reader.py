"""A run's journal, read while another process writes it: takes no lock and changes nothing."""

from collections.abc import Container
from pathlib import Path

from dspex.core.errors import JournalError
from dspex.runtime.journal import FILE, replay
from dspex.runtime.records import Record


class JournalReader:
    """What a run folder's journal holds, and then what is added; of `tags` alone records are made."""

    def __init__(self, folder: Path, tags: Container[bytes] | None = None) -> None:
        self.folder = folder
        self._path = folder / FILE
        self._tags = tags
        self._offset = self._lines = 0

    def poll(self) -> list[Record]:
        """The records since the last look. Raises JournalError for damage, and for a folder without a journal."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError as error:
            raise JournalError(f"{self.folder} is no run folder: {error.strerror or error}.") from error
        records, size = replay(data, str(self._path), self.folder, self._lines, self._tags)
        self._offset += size
        self._lines += data.count(b"\n", 0, size)
        return records
