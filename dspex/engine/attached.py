"""A run seen from another process: read from its journal, steered by a word in its folder."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import msgspec

from dspex.app.app import current_app
from dspex.core.candidate import OWN_PARAMS, Candidate
from dspex.core.errors import ConfigurationError, JournalError
from dspex.core.evidence import Evidence
from dspex.core.usage import Usage
from dspex.engine.artifact import Programs, extracted
from dspex.engine.progress import Ledger, Progress
from dspex.program.module import Module
from dspex.program.saving import write_atomically
from dspex.runtime.journal import owner_of
from dspex.runtime.journal_reader import JournalReader
from dspex.runtime.records import Beat, Call, Considered, End, Run, Sent, Step, Stopped

CONTROL = "control"
LOOK_EVERY_S = 0.2

BRIEF = frozenset({b"run", b"beat", b"stop", b"end", b"blob"})

Word = Literal["pause", "resume", "cancel"]


class AttachedJob:
    """The job of a run folder, whichever process runs it; made by `Job.open`. What it tells is at most a second old.

    `status` is that of a Job, or "interrupted": nobody runs it and it had not ended, so the same call with this run_dir goes
    on. It takes no lock and changes nothing; `pause`, `resume` and `cancel` are obeyed by the owner within a quarter of a second.
    """

    def __init__(self, run_dir: str | Path, brief: bool = False) -> None:
        """`brief` leaves out calls, steps and candidates. Raises JournalError for no journal, or a damaged one."""
        self.run_dir = Path(run_dir).expanduser()
        self._reader = JournalReader(self.run_dir, BRIEF if brief else None)
        self._beat = Beat("queued")
        self._stopped: Stopped | None = None
        self._end: End | None = None
        self._sent: set[str] = set()
        self._called: set[str] = set()
        self._paid = Usage()
        self._states: dict[str, Considered] = {}
        self._run: Run | None = None
        self._look()
        if self._run is None:
            raise JournalError(f"{self.run_dir} is no run folder: its journal is empty.")

    @property
    def run(self) -> Run:
        """What is run: identity, budget, estimate, versions."""
        assert self._run is not None
        return self._run

    @property
    def optimizer(self) -> str:
        """The optimizer's class name."""
        return str(self.run.identity["optimizer"][0]).rpartition(".")[2]

    @property
    def owner(self) -> str:
        """The process that runs it, "" if none does."""
        return owner_of(self.run_dir)

    @property
    def status(self) -> str:
        """What it is doing, or how it ended."""
        owner = self.owner
        self._look()
        if owner:
            return "running" if self._beat.status == "queued" else self._beat.status
        if self._end is not None:
            return "cancelled" if self._stopped is not None and self._stopped.why == "cancelled" else "done"
        return "failed" if self._stopped is not None and self._stopped.why == "error" else "interrupted"

    @property
    def detail(self) -> str:
        """The error that ended it, if one did."""
        return self._stopped.detail if self._stopped is not None else ""

    @property
    def progress(self) -> Progress:
        """How far it is."""
        status, beat = self.status, self._beat
        lost = len(self._sent - self._called) if status in ("interrupted", "failed", "cancelled", "done") else 0
        spent = Ledger(
            beat.calls, beat.tokens, beat.usd, paid_before=self._paid.calls, lost=lost, seconds=beat.seconds,
            run_dir=str(self.run_dir),
        )  # fmt: skip
        return Progress(status, beat.phase, beat.done, beat.total, beat.best, beat.low, beat.high, beat.n, spent)

    @property
    def evidence(self) -> Evidence | None:
        """What it could claim, once it has ended."""
        self._look()
        if self._end is None:
            return None
        found = msgspec.convert(self._end.evidence, Evidence)
        return msgspec.structs.replace(found, usage=self._end.evidence["usage"])  # whole numbers as they were

    @property
    def candidates(self) -> list[tuple[str, Candidate]]:
        """The candidates of its pool with their labels, in the order of their first appearance."""
        self._look()
        return [(one.label, msgspec.json.decode(one.state, type=Candidate)) for one in self._states.values()]

    async def events(self) -> AsyncIterator[Progress]:
        """Its progress whenever that has changed, to its end."""
        last = None
        while True:
            now = self.progress
            if now != last:
                yield now
            last = now
            if now.status in ("done", "failed", "cancelled", "interrupted"):
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def pause(self) -> None:
        """Ask its owner to start no further step."""
        self._tell("pause")

    def resume(self) -> None:
        """Ask its owner to go on."""
        self._tell("resume")

    def cancel(self) -> None:
        """Ask its owner to end with the best program so far."""
        self._tell("cancel")

    def result(self, student: Module, timeout: float | None = None) -> Module:
        """A copy of `student`, which the run began with, as the run has left it; waited for.

        Raises TimeoutError, and JournalError if it ended without a program or belongs to another student.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.status not in ("done", "failed", "cancelled", "interrupted"):
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"The run {self.run_dir} has not ended within {timeout:g} s.")
            time.sleep(LOOK_EVERY_S)
        evidence = self.evidence
        if self._end is None or evidence is None:
            why = self.detail or "it was interrupted; the same call with this run_dir goes on"
            raise JournalError(f"The run {self.run_dir} has no program: {why}.")
        own = extracted(student)
        states = {one.key: one for one in (candidate for _, candidate in self.candidates)}
        winner = {own.key: own, **states}.get(self._end.winner)
        if winner is None or winner.structure != own.structure:
            raise JournalError(f"The run {self.run_dir} belongs to another student; give the one that it began with.")
        why = (
            f"The program of {self.run_dir} has parts that only its optimizer can make: the same call of `compile` with this "
            "run_dir gives it, and pays nothing twice."
        )
        if any(state.params.keys() - OWN_PARAMS for state in winner.predictors.values()):
            raise JournalError(why)
        try:
            program = Programs(student, finish=lambda *_: None, lm=current_app().settings.lm).fresh(winner)
        except ConfigurationError as error:
            raise JournalError(why) from error
        program._compiled, program.evidence = True, evidence
        return program

    def _tell(self, word: Word) -> None:
        if not self.owner:
            raise JournalError(f"No process runs {self.run_dir}, so there is nobody to {word} it.")
        write_atomically(self.run_dir / CONTROL, word.encode())

    def _look(self) -> None:
        for record in self._reader.poll():
            match record:
                case Run():
                    self._run = record
                case Beat(status="queued"):  # a run that had ended and is run again is not at its end
                    self._beat, self._end, self._stopped = record, None, None
                case Beat():
                    self._beat = record
                case Stopped():
                    self._stopped = record
                case End():
                    self._end = record
                case Sent():
                    self._sent.add(record.key)
                case Call():
                    self._called.add(record.key)
                    if not record.is_cached:
                        self._paid += Usage(calls=record.attempts)
                case Considered():
                    self._states.setdefault(record.key, record)
                case Step():
                    pass
