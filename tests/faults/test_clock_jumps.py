"""The wall clock jumps; what waits, limits and breaks follows another."""

import asyncio

import pytest

import dspex
from dspex.plugin import LMResponse, RateLimited, Unavailable
from dspex.plugin.manager import PluginManager
from dspex.service.breaker import BreakerPolicy
from dspex.testing import VirtualClock, simulate

HOUR = 3_600.0


class Jumpy(VirtualClock):
    """Its wall clock goes back and forth by `hours` every other second."""

    def __init__(self, hours: float) -> None:
        self.hours = hours

    def now(self) -> float:
        return super().now() + (int(self.monotonic()) % 2) * self.hours * HOUR


class Endpoint:
    """Asks to wait for 5 s, then is down for 30 s, then answers; `times` has each attempt."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def complete(self, request):
        now = asyncio.get_running_loop().time()
        self.times.append(round(now, 2))
        if len(self.times) == 1:
            raise RateLimited("slow down", retry_after=5.0)
        if 10 < now < 40:
            raise Unavailable("down")
        return LMResponse.from_text("4")


def ran(clock):
    """When an endpoint was asked, and how each call ended, with a limit, a budget of time and the breaker in the way."""
    endpoint = Endpoint()

    async def main():
        async with dspex.App(clock=clock, plugins=PluginManager(lambda: ()), seed=7):
            lm = dspex.LM(
                "x/y", provider=endpoint, cache=False, requests_per_minute=120, breaker=BreakerPolicy(least=5)
            )
            ends = []
            with dspex.budget(seconds=55):
                for number in range(60):
                    [end] = await asyncio.gather(lm.acall(f"{number}?"), return_exceptions=True)
                    ends.append(type(end).__name__)
                    await asyncio.sleep(1)
            return ends

    return simulate(main, 7)[0], endpoint.times


@pytest.mark.fault("P09")
@pytest.mark.parametrize("hours", [-1, 1, 10_000])
def test_no_wait_limit_budget_or_breaker_moves_with_the_wall_clock(hours):
    steady = ran(VirtualClock())
    assert {"list", "Unavailable", "CircuitOpen", "BudgetExceeded"} <= set(steady[0])
    assert ran(Jumpy(hours)) == steady
