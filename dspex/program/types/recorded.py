"""What a tool gave, in the record of a run: a run that goes on after a kill does not do again what a tool has done."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from dspex.core.errors import ConfigurationError
from dspex.core.identity import canonical
from dspex.core.messages import LMRequest, LMResponse
from dspex.core.usage import Usage
from dspex.runtime.scope import Proceed, ProceedToBytes, Recorder, use

NOT_KEPT = b"[]"  # it has to run again: it failed, is no JSON data, or asked models, whose replies are kept one by one


async def recorded(recorder: Recorder, name: str, given: Mapping[str, Any], run: Callable[[], Awaitable[Any]]) -> Any:
    """What the tool gave to these arguments before, else what `run` gives; arguments that are no data have no record."""
    try:
        request = canonical(["tool", name, dict(given)])
    except ConfigurationError:
        return await run()
    results: list[Any] = []
    failures: list[Exception] = []

    async def proceed() -> tuple[bytes, Usage]:
        passing = _Passing(recorder)
        try:
            with use(recorder=passing):
                results.append(await run())
        except Exception as error:  # noqa: BLE001  raised below: for the record it is a call that has ended
            failures.append(error)
            return NOT_KEPT, Usage()
        is_kept = _is_data(results[0]) and not passing.was_asked
        return msgspec.json.encode(results) if is_kept else NOT_KEPT, Usage()

    kept = msgspec.json.decode(await recorder.record_bytes(request, proceed))
    if failures:
        raise failures[0]
    found = results or kept
    return found[0] if found else await run()


class _Passing:
    """A recorder that hands on, and notices that it was asked."""

    def __init__(self, outer: Recorder) -> None:
        self._outer = outer
        self.was_asked = False

    async def record(self, request: LMRequest, proceed: Proceed) -> LMResponse:
        self.was_asked = True
        return await self._outer.record(request, proceed)

    async def record_bytes(self, request: bytes, proceed: ProceedToBytes) -> bytes:
        self.was_asked = True
        return await self._outer.record_bytes(request, proceed)


def _is_data(value: Any) -> bool:
    """Whether it is the same after it was written as JSON."""
    kind = type(value)
    if kind is list:
        return all(map(_is_data, value))
    if kind is dict:
        return all(type(key) is str and _is_data(one) for key, one in value.items())
    if kind is float:
        return math.isfinite(value)
    return value is None or kind in (str, bool, int)
