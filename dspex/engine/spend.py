"""What steps take of a budget, and what may be taken: in whole numbers, so that shares of it add up exactly."""

import msgspec

from dspex.core.usage import Budget, Usage

UNLIMITED = 1 << 60


class Spend(msgspec.Struct, frozen=True, gc=False):
    """Calls, tokens and billionths of a dollar: whole numbers, so that shares add up exactly."""

    calls: int = 0
    tokens: int = 0
    nanos: int = 0

    @classmethod
    def of(cls, usage: Usage) -> "Spend":
        """What was used."""
        return cls(usage.calls, usage.total_tokens, round(usage.usd * 1e9) if usage.usd else 0)

    @classmethod
    def limit(cls, budget: Budget) -> "Spend":
        """What may be used; seconds have no part in it."""
        nanos = None if budget.usd is None else round(budget.usd * 1e9)
        return cls(*(UNLIMITED if limit is None else limit for limit in (budget.calls, budget.tokens, nanos)))

    @property
    def usd(self) -> float:
        """In dollars."""
        return self.nanos / 1e9

    def within(self, limit: "Spend") -> Budget:
        """As a budget, without the units that `limit` does not limit."""
        calls = None if limit.calls > UNLIMITED // 2 else max(0, self.calls)
        tokens = None if limit.tokens > UNLIMITED // 2 else max(0, self.tokens)
        return Budget(calls, tokens, None if limit.nanos > UNLIMITED // 2 else max(0.0, self.usd))

    def __add__(self, other: "Spend") -> "Spend":
        return Spend(self.calls + other.calls, self.tokens + other.tokens, self.nanos + other.nanos)

    def __sub__(self, other: "Spend") -> "Spend":
        return Spend(self.calls - other.calls, self.tokens - other.tokens, self.nanos - other.nanos)

    def __or__(self, other: "Spend") -> "Spend":
        return Spend(max(self.calls, other.calls), max(self.tokens, other.tokens), max(self.nanos, other.nanos))

    def covers(self, need: "Spend") -> bool:
        """Whether there is enough of each unit."""
        return self.calls >= need.calls and self.tokens >= need.tokens and self.nanos >= need.nanos

    def shares(self, count: int) -> "list[Spend]":
        """Equal parts; what cannot be divided goes to the first."""
        others = [Spend(self.calls // count, self.tokens // count, self.nanos // count)] * (count - 1)
        return [self - sum(others, Spend()), *others]
