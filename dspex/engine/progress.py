"""What a job says of itself: how far it is, and what it has cost."""

from collections.abc import Callable

import msgspec

from dspex.core.clock import Clock, SystemClock
from dspex.core.usage import Budget

QUIET_S = 10.0  # for so long a slow model may say nothing


class Ledger(msgspec.Struct, frozen=True):
    """What a run has cost: `calls` is what its budget was charged, reused and cached ones included.

    `paid` calls left this process and `paid_before` earlier ones, retries included; `reused` ones were answered from the
    journal, `cached` ones by the LM's cache or by joining an equal call. `lost` ones left an earlier process that was
    killed before their reply was kept.
    """

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    paid: int = 0
    paid_before: int = 0
    reused: int = 0
    cached: int = 0
    failed: int = 0
    lost: int = 0
    seconds: float = 0.0
    torn_bytes: int = 0
    run_dir: str = ""


class Progress(msgspec.Struct, frozen=True):
    """How far a job is: steps of the phase, the best candidate so far with its interval, what is spent, time left.

    `best`, `low` and `high` are mean scores in score points over `n` examples, None before the first one.
    """

    status: str
    phase: str = ""
    done: int = 0
    total: int | None = None
    best: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    spent: Ledger = Ledger()
    left: Budget | None = None
    eta: float | None = None


class ProgressLine:
    """Progress for a bar, which says too for how long nothing has come of it: a model that is away is waited for."""

    def __init__(self, poll: Callable[[], Progress], clock: Clock | None = None) -> None:
        self._poll = poll
        self._clock = clock or SystemClock()
        self._seen: object = None
        self._since = 0.0

    def __call__(self) -> tuple[int, int | None, str]:
        """Steps done, steps in all if known, and the rest as text."""
        progress, now = self._poll(), self._clock.monotonic()
        seen = progress.status, progress.phase, progress.done, progress.spent.calls, progress.spent.failed
        if seen != self._seen:
            self._seen, self._since = seen, now
        done, total, text = shown(progress)
        quiet = now - self._since
        is_quiet = progress.status == "running" and quiet >= QUIET_S
        return done, total, f"{text}  no answer for {quiet:.0f} s" if is_quiet else text


def shown(progress: Progress) -> tuple[int, int | None, str]:
    """Progress for a bar: steps done, steps in all if known, and the rest as text."""
    parts = ["" if progress.status == "running" else progress.status, progress.phase]
    if progress.best is not None and progress.low is not None and progress.high is not None:
        parts.append(f"best {100 * progress.best:.1f} [{100 * progress.low:.0f}, {100 * progress.high:.0f}]")
    spent = progress.spent
    price, reused = f", ${spent.usd:.4f}" if spent.usd else "", f", {spent.reused} reused" if spent.reused else ""
    parts.append(f"{spent.calls} calls, {spent.tokens:,} tokens{price}{reused}")
    return progress.done, progress.total, "  ".join(part for part in parts if part)
