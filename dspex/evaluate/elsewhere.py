"""A program of an Evaluate, run by an executor: a stand-in whose results and errors are as if it ran here."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from dspex.app.app import current_app
from dspex.core.errors import ConfigurationError
from dspex.evaluate.dispatch import Dispatch, chunk_size, executor_for
from dspex.evaluate.faults import error_of
from dspex.evaluate.orders import Order, Parcel
from dspex.evaluate.parcels import artifact_of, check_made_again, packed, prediction_of, settings_as_data
from dspex.evaluate.running import Run
from dspex.runtime.scope import SCOPE
from dspex.service.ledger import Charge


@asynccontextmanager
async def elsewhere(wanted: Any, program: Any, examples: int | None) -> AsyncGenerator[Run, None]:
    """What runs the program, for as long as the block lasts; at its end nothing is under way.

    Raises ConfigurationError for what cannot be sent, before anything is paid.
    """
    executor, name = executor_for(wanted, "executor")
    if SCOPE.get().tape is not None:
        raise ConfigurationError(
            "A cassette hears the calls of this process only: leave executor= out, or the cassette."
        )
    artifact = artifact_of(program)
    check_made_again(program, artifact)
    settings = settings_as_data(current_app(), SCOPE.get().overlay)
    parcel = Parcel(artifact, settings, False, chunk_size(examples))
    bound = Charge(2 * max(1, len(program.predictors())))
    dispatch = Dispatch(executor, name)

    async def run(**given: Any) -> Any:
        inputs, typed = packed(given, program, is_strict=True)
        record = await dispatch.run(Order(parcel, inputs, typed, bound=bound))
        if record.fault is not None:
            raise error_of(record.fault)
        return prediction_of(record, program)

    try:
        yield run
    finally:
        await dispatch.aclose()
