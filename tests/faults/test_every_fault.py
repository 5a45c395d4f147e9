"""Each fault that the fault server knows ends as it says, in time, and the next call is a good one."""

import time

import pytest

import dspex
from dspex.testing import FAULTS

ANSWER = b'{"text": "[[ ## answer ## ]]\\n4"}'
EVENTS = b'data: {"text": "Hel"}\n\ndata: {"text": "lo"}\n\ndata: [DONE]\n\n'
TIMEOUT_S = 0.15
KEY = "sk-canary-0123456789"


async def called(lm, streams):
    if not streams:
        return (await lm.acall("2+2?"))[0]
    request = lm.request((dspex.plugin.Message.of("user", "2+2?"),), {})
    return "".join([delta.text async for delta in lm.stream(request)])


def test_there_are_many_and_each_is_of_a_row():
    assert len(FAULTS) >= 40
    assert {fault.row[0] for fault in FAULTS.values()} == {"N", "S", "B", "T"}


@pytest.mark.fault("R8")
@pytest.mark.parametrize("name", FAULTS)
async def test_each_ends_as_it_says_and_the_next_call_is_a_good_one(server, app, lm, name):
    fault = FAULTS[name]
    server.then_fault(name, EVENTS if fault.streams else ANSWER, times=None)
    async with app():
        model = lm(timeout=TIMEOUT_S if dspex.LMTimeout in fault.raises else 5.0, api_key=KEY)
        began = time.monotonic()
        if fault.raises:
            with pytest.raises(fault.raises) as caught:
                await called(model, fault.streams)
            message = str(caught.value)
            assert len(message) <= 1_000
            assert "acme/one" in message
            assert KEY not in f"{message} {caught.value!r} {caught.value.__cause__!r}"
            assert caught.value.attempts == 1
        else:
            assert await called(model, fault.streams) == ("Hello" if fault.streams else "[[ ## answer ## ]]\n4")
        if dspex.LMTimeout in fault.raises:
            assert time.monotonic() - began <= TIMEOUT_S * 1.1 + 0.25  # the machine is shared
        server.then(200, ANSWER)
        assert await lm("two").acall("and now?") == ["[[ ## answer ## ]]\n4"]
