"""What subscribers are told of a logical call, of whatever kind: that it begins, and how it ended."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from dspex.core.endpoint import Endpoint
from dspex.core.events import RequestFinished, RequestStarted
from dspex.core.usage import Usage
from dspex.service.call import Call, Shared

T = TypeVar("T")


async def reported(
    shared: Shared,
    endpoint: Endpoint,
    call: Call,
    work: Callable[[], Awaitable[T]],
    usage_of: Callable[[T], Usage | None],
) -> T:
    """The result of `work`, told to subscribers if there are any."""
    bus, clock = shared.bus, shared.clock
    if not bus.active:
        return await work()
    began = clock.monotonic()
    provider, model, path = endpoint.provider, endpoint.model, call.scope.path
    bus.publish(RequestStarted(clock.now(), call.number, provider, model, path))
    usage, failure = None, None
    try:
        result = await work()
        usage = usage_of(result)
        return result
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        bus.publish(
            RequestFinished(
                at=clock.now(),
                request=call.number,
                provider=provider,
                model=model,
                seconds=clock.monotonic() - began,
                attempts=call.attempts,
                cached=call.cached,
                usage=usage,
                error=failure,
                path=path,
            )
        )


def track(call: Call, name: str, usage: Usage | None) -> None:
    """Count what a call has paid, for everybody around it who counts."""
    if not call.cached and usage is not None:
        for tracker in call.scope.trackers:
            tracker.add(name, usage)
