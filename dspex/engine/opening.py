"""A run's folder: made new, gone on with, or begun with what another run has finished."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import JournalError
from dspex.core.identity import canonical
from dspex.core.usage import Budget
from dspex.core.versions import kernel_version
from dspex.engine.quote import Quote
from dspex.runtime.journal import FILE, FORMAT, Journal, replay
from dspex.runtime.journal_reader import JournalReader
from dspex.runtime.records import Call, Run, Step


class Terms(msgspec.Struct, frozen=True):
    """What a run is opened with; `fork` is the folder of a run whose finished steps are taken over."""

    identity: Mapping[str, Any]
    budget: Budget | None
    quote: Quote
    waves: str
    fork: str | Path | None = None


def runs_folder() -> Path:
    """Where runs without a `run_dir` lie: DSPEX_RUNS_DIR, else below the user's state folder."""
    given = os.environ.get("DSPEX_RUNS_DIR")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return platformdirs.user_state_path("dspex") / "runs"


def held_before(run_dir: str | Path | None, most: int | None) -> int | None:
    """How many examples a run begun before has set apart, whatever its budget was; else `most`."""
    path = Path(run_dir or "", FILE).expanduser()
    if run_dir is None or not path.is_file():
        return most
    with path.open("rb") as file:
        records, _ = replay(file.readline())
    before = records[0] if records else None
    return before.identity["held examples"]["examples"] if isinstance(before, Run) else most


def opened(run_dir: str | Path | None, terms: Terms) -> tuple[Journal, Run]:
    """The journal of a new run, or of the same run begun before. Raises JournalError for another."""
    name = str(terms.identity["optimizer"][0]).rpartition(".")[2]
    new = runs_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{uuid4().hex[:6]}"
    taken = _finished(Path(terms.fork).expanduser()) if terms.fork is not None else []
    journal = Journal(Path(run_dir).expanduser() if run_dir is not None else new)
    try:
        run = _begun(journal, terms) if journal.records else _new(journal, terms)
        if taken:
            _take_over(journal, taken)
    except BaseException:
        journal.close()
        raise
    return journal, run


def _new(journal: Journal, terms: Terms) -> Run:
    versions, at = {"dspex": kernel_version()}, current_app().clock.now()
    estimate = msgspec.to_builtins(terms.quote)
    fork = "" if terms.fork is None else str(terms.fork)
    run = Run(
        FORMAT, uuid4().hex, dict(terms.identity), terms.budget, versions, terms.waves, at, estimate, fork, _script()
    )
    journal.append(run)
    journal.records.append(run)
    return run


def _script() -> str:
    """The program's file; not its arguments, which may hold a key."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return str(Path(file).absolute()) if file else ""


def _begun(journal: Journal, terms: Terms) -> Run:
    before, identity = journal.records[0], terms.identity
    assert isinstance(before, Run)
    differs = [part for part in identity if canonical(before.identity.get(part)) != canonical(identity[part])]
    if differs:
        raise JournalError(
            f"The run folder {journal.folder} belongs to another run: {'; '.join(_difference(before, identity, differs))}. "
            f"Give this one a run_dir of its own; fork={str(journal.folder)!r} takes over what of it is still valid."
        )
    return before


def _finished(folder: Path) -> list[Step | Call]:
    """The steps and calls that ended well in another run; it may still be running."""
    records = JournalReader(folder).poll()
    steps = [r for r in records if isinstance(r, Step) and b'"ok":false' not in bytes(r.value)]
    return [*[r for r in records if isinstance(r, Call) and not r.error], *steps]


def _take_over(journal: Journal, taken: Sequence[Step | Call]) -> None:
    """Keys are of content, so whatever is asked for again is found; a kill in between is made good the next time."""
    known = {(type(r), r.key) for r in journal.records if isinstance(r, Step | Call)}
    for record in taken:
        if (type(record), record.key) in known:
            continue
        # It was paid by the other run.
        kept = msgspec.structs.replace(record, is_cached=True) if isinstance(record, Call) else record
        journal.append(kept)
        journal.records.append(kept)


def _difference(before: Run, identity: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """What differs, with both values where they are short."""
    pairs = {name: (str(before.identity.get(name)), str(identity[name])) for name in names}
    return [
        f"{name} ({was} then, {now} now)" if len(was + now) < 60 else f"{name} differs"
        for name, (was, now) in pairs.items()
    ]
