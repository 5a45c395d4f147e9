"""Rates: what the user allows a minute, and what an endpoint says of itself in its headers."""

import re
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

MINUTE_S = 60.05  # a little more: requests do not all travel equally long
LONGEST_S = 120.0  # that an endpoint is taken at its word; after it a call may ask again and be told
BURST = 0.1  # of a minute's units may go at once, the rest is spread evenly
_DURATION = r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
_SECONDS = r"\d{1,9}(?:\.\d{1,9})?"

# Of what is left, of the time of its reset, and of the whole; as OpenAI and as Anthropic call them.
NAMES: Mapping[str, tuple[tuple[str, str, str], ...]] = MappingProxyType(
    {
        unit: (
            (f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}", f"x-ratelimit-limit-{unit}"),
            (
                f"anthropic-ratelimit-{unit}-remaining",
                f"anthropic-ratelimit-{unit}-reset",
                f"anthropic-ratelimit-{unit}-limit",
            ),
        )
        for unit in ("requests", "tokens")
    }
)
TOLD = frozenset(names[0] for forms in NAMES.values() for names in forms)


class Taken:
    """Units taken at a time; the amount is corrected when the truth is known."""

    __slots__ = ("amount", "at")

    def __init__(self, at: float, amount: float) -> None:
        self.at = at
        self.amount = amount


class Minute:
    """At most `limit` units in any minute. Guarded by its owner's lock; `now` is of one monotonic clock."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._burst = max(1.0, limit * BURST)
        self._ready = self._burst
        self._since = 0.0
        self._taken: deque[Taken] = deque()
        self._sum = 0.0

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` units may be taken, as far as that is known now."""
        self._refill(now)
        amount = min(amount, self.limit)  # what is more than a minute's goes alone
        missing = min(amount, self._burst) - self._ready
        spread = missing * 60.0 / self.limit if missing > 1e-9 else 0.0
        if self._sum + amount <= self.limit + 1e-9:
            return spread
        return max(spread, self._taken[0].at + MINUTE_S - now)

    def take(self, now: float, amount: float) -> Taken:
        """Take them."""
        self._refill(now)
        amount = min(amount, self.limit)
        taken = Taken(now, amount)
        self._taken.append(taken)
        self._sum += amount
        self._ready -= amount
        return taken

    def settle(self, taken: Taken, amount: float) -> None:
        """Put the real amount in the place of the one taken."""
        self._ready = min(self._burst, self._ready + taken.amount - amount)
        if self._taken and taken.at >= self._taken[0].at:  # else it is out of the minute
            self._sum += amount - taken.amount
        taken.amount = amount

    def _refill(self, now: float) -> None:
        if now > self._since:
            self._ready = min(self._burst, self._ready + (now - self._since) * self.limit / 60.0)
            self._since = now
        while self._taken and self._taken[0].at + MINUTE_S <= now:
            self._sum -= self._taken.popleft().amount


class Told:
    """What an endpoint said is left of one of its limits until that is reset."""

    def __init__(self) -> None:
        self._left: float | None = None
        self._limit: float | None = None
        self._reset = 0.0

    @property
    def is_known(self) -> bool:
        """Whether anything was said."""
        return self._left is not None

    def wait(self, now: float, amount: float) -> float:
        """Seconds until `amount` units may be taken."""
        if self._left is None:
            return 0.0
        if now >= self._reset:
            self._left = self._limit
            return 0.0
        needed = min(amount, self._limit) if self._limit is not None else amount
        return 0.0 if self._left >= needed else self._reset - now

    def take(self, amount: float) -> None:
        """Take them."""
        if self._left is not None:
            self._left -= amount

    def hear(self, now: float, left: float, reset: float, limit: float | None) -> None:
        """Take note of a reply. Replies overtake each other: within one period what is left can only shrink."""
        self._left = left if self._left is None or now >= self._reset else min(self._left, left)
        self._reset, self._limit = now + min(reset, LONGEST_S), limit


def told(headers: Mapping[str, str], unit: str) -> tuple[float, float, float | None] | None:
    """(left, seconds until the reset, limit) of "requests" or "tokens", from headers of OpenAI's or Anthropic's form."""
    for left, reset, limit in NAMES[unit]:
        if left in headers:
            amount, seconds = _number(headers[left]), _seconds(headers.get(reset, ""), headers.get("date", ""))
            return None if amount is None or seconds is None else (amount, seconds, _number(headers.get(limit, "")))
    return None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(_SECONDS, text.strip()) else None


def _seconds(text: str, date: str) -> float | None:
    """A duration as `6m0s`, `20ms` or `7.5`, or a time of day against the reply's own date."""
    text = text.strip()
    plain = _number(text)
    if plain is not None:
        return plain
    parts = re.fullmatch(_DURATION, text)
    if text and parts:
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in parts.groups())
        return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    from email.utils import parsedate_to_datetime

    try:
        then = datetime.fromisoformat(text)
        return max(0.0, (then - parsedate_to_datetime(date).astimezone(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
