"""How a call has to end that meets a fault of a wire: what the kits of all that is called over HTTP hold."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from dspex.core.errors import LMError
from dspex.testing.one_plugin import KEY

T = TypeVar("T")

TIMEOUT_S = 0.15
LATER_S = 0.05  # and a tenth: so late may a call end
SHOWN = 1_000


async def in_time(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What `work` gives, which must end within a time by the loop's own timers: a busy machine holds up both alike."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=seconds)
        for _ in range(50):  # where both timers ring in one turn of the loop, the other may finish
            await asyncio.sleep(0)
        assert task.done(), f"it takes more than {seconds:g} s"
        return await task
    finally:
        task.cancel()


def check_error(error: LMError, raises: tuple[type[LMError], ...], model: str) -> None:
    """It is of a class that the fault may end in, is short, names the model (`provider/model`), and holds no key."""
    message = str(error)
    assert isinstance(error, raises), (
        f"{type(error).__name__}, not one of {[one.__name__ for one in raises]}: {message}. Where a wire of yours says this "
        "fault otherwise, override `raises` and say why"
    )
    assert error.attempts == 1
    assert len(message) <= SHOWN
    assert model in message
    assert KEY not in f"{message} {error!r} {error.__cause__!r}"
