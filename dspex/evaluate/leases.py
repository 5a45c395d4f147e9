"""What of the budgets around it a run elsewhere is lent."""

from collections.abc import Sequence

from dspex.core.errors import BudgetExceeded
from dspex.core.usage import Budget
from dspex.service.ledger import BudgetScope, Charge, lease_all, reserve_all

TOKENS_OF_A_CALL = 8_192
SHARES = 64  # into which a budget is parted where nothing else says what a run may take


def bound_for(given: Charge, scopes: Sequence[BudgetScope]) -> Charge:
    """The most that a run takes at first: what is `given`, else a few calls and a small share of the budget."""
    calls, tokens, usd = max(1, given.calls), given.tokens, given.usd
    shares = [scope.limits.usd / SHARES for scope in scopes if scope.limits.usd is not None]
    return Charge(calls, tokens or calls * TOKENS_OF_A_CALL, usd or min(shares, default=0.0))


def wall_of(scopes: Sequence[BudgetScope], lease: Charge) -> Budget | None:
    """The lease, in the units that are bounded at all."""
    if not scopes:
        return None
    limits = [scope.limits for scope in scopes]
    seconds = [left for scope in scopes if (left := scope.left.seconds) is not None]
    return Budget(
        lease.calls if any(one.calls is not None for one in limits) else None,
        lease.tokens if any(one.tokens is not None for one in limits) else None,
        lease.usd if any(one.usd is not None for one in limits) else None,
        min(seconds, default=None),
    )


async def larger(scopes: Sequence[BudgetScope], lease: Charge, short: Exception) -> Charge:
    """A larger lease than the one that was too short for a single call. Raises BudgetExceeded where there is no more."""
    twice = lease + lease
    try:
        await reserve_all(scopes, twice)
    except BudgetExceeded as wall:
        rest = await lease_all(scopes, twice)
        unit = getattr(short, "unit", "") or wall.unit
        if unit != "seconds" and getattr(rest, unit, 0) > getattr(lease, unit, 0):
            return rest
        for scope in scopes:
            scope.settle(rest, Charge())
        raise
    return twice
