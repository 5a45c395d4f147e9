"""An entry, and how long it lives."""

from collections.abc import Callable

import msgspec


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A value with the wall-clock times at which it was stored and, unless it lives for ever, expires."""

    value: bytes
    stored: float
    expires: float | None = None

    def is_live(self, now: Callable[[], float]) -> bool:
        """Whether it may still be served.

        An entry from further in the future than its life is long was stored by a clock that was wrong, and is dead.
        So a clock that jumps back prolongs a life by its jump, at most to twice its length, and none is endless.
        """
        return self.expires is None or 2 * self.stored - self.expires < now() < self.expires


def make(value: bytes, ttl: float | None, now: Callable[[], float]) -> Entry:
    """An entry stored now, for `ttl` seconds if given."""
    stored = now()
    return Entry(value, stored, None if ttl is None else stored + ttl)
