"""What subscribers are told of a logical call, of whatever kind: that it begins, and how it ended."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from dspex.core.endpoint import Endpoint
from dspex.core.events import RequestFinished, RequestStarted
from dspex.core.usage import Usage
from dspex.service.call import Call, Shared

T = TypeVar("T")


class Report:
    """Tells of one call, from where it is made to its `end`; to nobody if nobody listens."""

    __slots__ = ("_began", "_call", "_endpoint", "_shared")

    def __init__(self, shared: Shared, endpoint: Endpoint, call: Call) -> None:
        self._shared = shared
        self._endpoint = endpoint
        self._call = call
        self._began = shared.clock.monotonic()
        if shared.bus.active:
            started = RequestStarted(
                shared.clock.now(), call.number, endpoint.provider, endpoint.model, call.scope.path
            )
            shared.bus.publish(started)

    def end(self, usage: Usage | None, error: BaseException | None) -> None:
        """The call is over."""
        shared, endpoint, call = self._shared, self._endpoint, self._call
        if shared.bus.active:
            shared.bus.publish(
                RequestFinished(
                    at=shared.clock.now(),
                    request=call.number,
                    provider=endpoint.provider,
                    model=endpoint.model,
                    seconds=shared.clock.monotonic() - self._began,
                    attempts=call.attempts,
                    cached=call.cached,
                    usage=usage,
                    error=None if error is None else type(error).__name__,
                    path=call.scope.path,
                )
            )


async def reported(
    shared: Shared,
    endpoint: Endpoint,
    call: Call,
    work: Callable[[], Awaitable[T]],
    usage_of: Callable[[T], Usage | None],
) -> T:
    """The result of `work`, told to subscribers if there are any."""
    if not shared.bus.active:
        return await work()
    report = Report(shared, endpoint, call)
    try:
        result = await work()
    except BaseException as error:
        report.end(None, error)
        raise
    report.end(usage_of(result), None)
    return result


def track(call: Call, name: str, usage: Usage | None) -> None:
    """Count what a call has paid, for everybody around it who counts."""
    if not call.cached and usage is not None:
        for tracker in call.scope.trackers:
            tracker.add(name, usage)
