"""Many calls on one loop go out a few at each of its turns, so that all else on it goes on."""

import asyncio

import pytest

import dspex
from dspex.plugin import LMResponse
from dspex.service.crowd import A_TURN, SMALL


class Turns:
    """A provider that notes in which turn of the loop each call went out."""

    def __init__(self, seconds=1.0):
        self.now = 0
        self.sent = []
        self.seconds = seconds

    async def count(self):
        for self.now in range(200):  # as long as it counts, virtual time stands still
            await asyncio.sleep(0)

    async def complete(self, request):
        self.sent.append(self.now)
        await asyncio.sleep(self.seconds)
        return LMResponse.from_text("4")


def gone_out(virtual, calls, begin=lambda tasks: None):
    """How many went out in each turn, after the first few at once."""
    provider = Turns()

    async def main():
        counting = asyncio.create_task(provider.count())
        lm = dspex.LM("x/y", provider=provider, cache=False)
        tasks = [asyncio.create_task(lm.acall(f"{number}?")) for number in range(calls)]
        begin(tasks)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        await counting
        return done

    done = virtual(main)
    return done, [provider.sent.count(turn) for turn in sorted(set(provider.sent))]


def test_a_crowd_goes_out_a_few_at_a_turn(virtual):
    done, turns = gone_out(virtual, 500)
    assert done == [["4"]] * 500
    assert sum(turns) == 500
    assert turns[0] <= SMALL + A_TURN
    assert max(turns[1:]) <= A_TURN
    assert len(turns) <= 500 // A_TURN + 2  # and no turn is left out


@pytest.mark.parametrize("calls", [1, SMALL])
def test_a_few_go_out_as_they_come(virtual, calls):
    assert gone_out(virtual, calls)[1] == [calls]


def test_who_is_cancelled_while_it_waits_holds_nobody_up(virtual):
    def begin(tasks):
        asyncio.get_running_loop().call_soon(lambda: [task.cancel() for task in tasks[100:400]])

    done, turns = gone_out(virtual, 500, begin)
    assert [one for one in done if one == ["4"]] == [["4"]] * 200
    assert sum(isinstance(one, asyncio.CancelledError) for one in done) == 300
    assert max(turns[1:]) <= A_TURN
