"""A clock for tests with real sockets: time goes on as it does, but nobody waits between attempts."""

import time

from dspex.app.app import App


class QuickClock:
    """The machine's clock, but for waits between attempts, which are only noted: `slept`, in seconds."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Come back at once."""
        self.slept.append(seconds)

    def app(self) -> App:
        """An App that lives by this clock."""
        return App(clock=self)
