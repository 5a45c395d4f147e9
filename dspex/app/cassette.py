"""cassette: a whole run recorded in a file, and played from it without a network."""

from contextlib import ExitStack
from pathlib import Path
from typing import Self

from dspex.core.errors import CassetteError
from dspex.runtime.scope import use
from dspex.service.tape import Mode, Tape


class Cassette:
    """One recorded run, as a context manager, sync or async; `cassette` makes it."""

    def __init__(self, path: Path, mode: Mode) -> None:
        self.path = path
        self.mode = mode
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        stack = ExitStack()
        tape = Tape(self.path, self.mode)
        stack.callback(tape.close)
        stack.enter_context(use(tape=tape))
        self._stack = stack
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self._stack.close()

    def __repr__(self) -> str:
        return f"dspex.cassette({str(self.path)!r}, mode={self.mode!r})"


def cassette(path: str | Path, mode: Mode = "auto") -> Cassette:
    """Record what a block asks of models, embedders and retrievers, and play it when it runs again.

    "auto" plays what the file has and records what it lacks; "record" begins the file anew; "replay" asks nobody: it needs
    no plugin, key or network, and raises CassetteMiss, with the nearest request that was recorded, for what is not in
    the file. Streams are played in their pieces, errors are raised again, and calls cost in budgets and usage what they
    cost then. Keys and headers are never written. Raises CassetteError for a file that is damaged, missing or of
    another version.
    """
    if mode not in ("auto", "record", "replay"):
        raise CassetteError(f"mode={mode!r}: one of 'auto', 'record', 'replay'.")
    return Cassette(Path(path), mode)
