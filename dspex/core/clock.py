"""Seams for time and randomness, so that tests need neither sleep nor luck."""

import asyncio
import hashlib
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where dspex takes its time from; all values are in seconds."""

    def now(self) -> float:
        """Wall clock, since the epoch; for records only."""

    def monotonic(self) -> float:
        """Never goes back; for waits, limits and deadlines."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the running loop."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def derived_rng(*labels: object) -> random.Random:
    """A stream that depends on its labels only: same labels, same draws, in any process and on any Python."""
    digest = hashlib.blake2b("/".join(map(str, labels)).encode(), digest_size=8)
    return random.Random(int.from_bytes(digest.digest(), "big"))
