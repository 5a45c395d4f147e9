"""Each fault that the fault server knows ends as it says, in time, and the next call is a good one."""

import json

import pytest

from dspex.plugin import LMTimeout
from dspex.testing import FAULTS

ANSWER = json.dumps({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})
PIECES = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("Hel", "lo")]
LAST = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
EVENTS = "".join(f"data: {json.dumps(event)}\n\n" for event in [*PIECES, LAST]) + "data: [DONE]\n\n"
TIMEOUT_S = 0.15


@pytest.mark.fault("R8")
@pytest.mark.parametrize("name", FAULTS)
async def test_each_ends_as_it_says_and_the_next_call_is_a_good_one(server, lm, ask, stream, in_time, name):
    async def called(model):
        return "".join([piece.text async for piece in stream(model)]) if fault.streams else (await ask(model)).text

    server.then(200, ANSWER)
    assert (await ask(lm("acme-2"))).text == "Hello"  # the first call of a process loads the plugin
    fault = FAULTS[name]
    seconds = TIMEOUT_S if LMTimeout in fault.raises else 5.0
    server.then_fault(name, EVENTS if fault.streams else ANSWER, times=None)
    model = lm(timeout=seconds)
    assert model.service.name == "openai/acme-1"  # it is made, which is no part of a call's time
    if fault.raises:
        with pytest.raises(fault.raises) as caught:
            await in_time(seconds * 1.1 + 0.05, called(model))
        assert caught.value.attempts == 1
        assert len(str(caught.value)) <= 1_000
        assert "openai/acme-1" in str(caught.value)
    else:
        assert await called(model) == "Hello"
    server.then(200, ANSWER)
    assert (await ask(lm("acme-2"))).text == "Hello"
