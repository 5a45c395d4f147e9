"""Evaluations of a run that an executor makes: what is sent of each, and its calls in the journal as if they were made here."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from dspex.app.app import App
from dspex.core.candidate import TraceStep
from dspex.core.errors import BudgetExceeded, ConfigurationError, ExecutorFailed, JournalError, WorkerLost
from dspex.core.example import Prediction
from dspex.core.usage import Usage
from dspex.engine.recorder import StepRecorder, Tape
from dspex.engine.setup import Role
from dspex.evaluate.dispatch import Dispatch, chunk_size
from dspex.evaluate.faults import error_of
from dspex.evaluate.orders import Order, Parcel
from dspex.evaluate.parcels import artifact_of, check_made_again, packed, prediction_of, settings_as_data, unpacked
from dspex.plugin.executors import CallRecord
from dspex.program.module import Module
from dspex.runtime.records import Call, Sent
from dspex.runtime.scope import SCOPE
from dspex.service.ledger import Charge

KEPT = 256  # parcels: candidates, each with the ways in which it is run


class Away:
    """Where the evaluations of one run are made, if not in this process."""

    def __init__(self, dispatch: Dispatch, tape: Tape, app: App, examples: int) -> None:
        self._dispatch = dispatch
        self._tape = tape
        self._app = app
        self._size = chunk_size(examples)
        self._parcels: OrderedDict[tuple[str, str, str], Parcel] = OrderedDict()
        self._calls: defaultdict[str, dict[str, CallRecord]] = defaultdict(dict)
        for call in tape.done.values():
            self._calls[call.step][call.key] = _record(call)

    async def run(
        self, work: Any, program: Module, given: Mapping[str, Any], recorder: StepRecorder
    ) -> tuple[Any, tuple[TraceStep, ...] | None]:
        """What the program gave, and its trace as data; `work.trace` is filled as a run here would have filled it.

        Raises what the program raised there, and with `recorder.failure` set what ends the whole run.
        """
        try:
            parcel = self._parcel(work, program)
        except ConfigurationError as error:
            recorder.failure = error  # no other run of it would fare better
            raise
        inputs, typed = packed(given, program, is_strict=True)
        calls = self._calls[work.key]
        bound = work.bound
        order = Order(
            parcel, inputs, typed, work.key, tuple(calls.values()), Charge(bound.calls, bound.tokens, bound.usd),
            partial(self._heard, work.key),
        )  # fmt: skip
        try:
            record = await self._dispatch.run(order)
            recorder.worked_elsewhere(record.usage, calls.keys())
            if record.fault is not None:
                work.kept = record.trace
                raise error_of(record.fault)
        except (BudgetExceeded, ExecutorFailed, JournalError) as error:
            recorder.failure = error
            raise
        except WorkerLost:
            recorder.worked_elsewhere(_usage(calls.values()), calls.keys())
            raise
        if record.trace is not None and work.trace is not None:
            work.trace.extend(_trace(record.trace, program))
        return prediction_of(record, program), record.trace

    async def aclose(self) -> None:
        """End all that is under way."""
        await self._dispatch.aclose()

    def _parcel(self, work: Any, program: Module) -> Parcel:
        key = (work.candidate.key, work.how.name, repr(sorted(work.how.params.items())) + str(work.how.traced))
        found = self._parcels.get(key)
        if found is None:
            artifact, settings = artifact_of(program), settings_as_data(self._app, SCOPE.get().overlay)
            check_made_again(program, artifact)
            found = self._parcels[key] = Parcel(artifact, settings, work.how.traced, self._size)
            if len(self._parcels) > KEPT:
                self._parcels.popitem(last=False)
        self._parcels.move_to_end(key)
        return found

    def _heard(self, step: str, record: CallRecord) -> None:
        """Journal a call as it would be if it were made here."""
        if not record.is_done:
            self._tape.journal.append(Sent(record.key))
            self._tape.begun(record.key, None)
            return
        self._tape.over(record.key)
        self._tape.ended(
            Call(
                record.key, step, record.reply, record.seconds, record.attempts, record.is_cached, record.error,
                record.data, record.usage,
            )
        )  # fmt: skip
        if not record.error:
            self._calls[step][record.key] = record


def check_can_leave(programs: list[Module], roles: Mapping[str, Role], app: App) -> None:
    """Raises ConfigurationError if a worker could not run these programs as they are run here."""
    if SCOPE.get().tape is not None:
        raise ConfigurationError(
            "A cassette hears the calls of this process only: leave executor= out, or the cassette."
        )
    for program in programs:
        check_made_again(program, artifact_of(program))
    for name in ("task", "teacher"):
        settings_as_data(app, roles[name].over(SCOPE.get().overlay))


def _trace(steps: tuple[TraceStep, ...], program: Module) -> list[Any]:
    """(predictor, inputs, prediction) of each call, as a metric is given it."""
    parts = dict(program.named_predictors())
    made = []
    for step in steps:
        inputs, outputs = (_typed(values, step.predictor, program) for values in (step.inputs, step.outputs))
        made.append((parts[step.predictor], inputs, Prediction(outputs)))
    return made


def _typed(values: dict[str, Any], path: str, program: Module) -> dict[str, Any]:
    try:
        return unpacked(values, dict.fromkeys(values, path), program)
    except ValueError:  # what had no form in JSON is a text
        return values


def _usage(calls: Iterable[CallRecord]) -> Usage:
    """What is known that they took, as a step counts it."""
    took = [one.usage or (one.reply and one.reply.usage) or Usage() for one in calls]
    return sum((one if one.calls else msgspec.structs.replace(one, calls=1) for one in took), Usage())


def _record(call: Call) -> CallRecord:
    return CallRecord(
        "", call.key, True, call.reply, call.data, call.usage, call.seconds, call.attempts, call.is_cached, call.error
    )
