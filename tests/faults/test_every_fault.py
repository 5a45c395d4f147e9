"""Each fault that the fault server knows ends as it says, in time, and the next call is a good one."""

import pytest

import dspex
from dspex.testing import FAULTS

ANSWER = b'{"text": "[[ ## answer ## ]]\\n4"}'
EVENTS = b'data: {"text": "Hel"}\n\ndata: {"text": "lo"}\n\ndata: [DONE]\n\n'
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
@pytest.mark.parametrize("fault", FAULTS)
def test_each_ends_as_it_says_and_the_next_call_is_a_good_one(kit, fault):
    kit.test_a_fault_ends_as_it_says_and_the_next_call_is_a_good_one(fault)


AGAIN = {
    **dict.fromkeys(("N05", "N06", "N07", "N14", "N15", "N21", "S04", "S05", "S07", "S13", "S15", "T04"), 4),
    **dict.fromkeys(("N22", "B01"), 2),
    **dict.fromkeys(("N11", "N12", "N13", "N18", "N20", "S03", "S06", "S09", "S10", "S11", "S12"), 1),
    **dict.fromkeys(("T01", "T03", "T07"), 1),
}


@pytest.mark.fault("S08")
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.row in AGAIN])
async def test_one_that_stays_is_tried_as_often_as_its_row_says(server, app, lm, name):
    fault = FAULTS[name]
    server.then_fault(name, EVENTS if fault.streams else ANSWER, times=None)
    async with app():
        model = lm(timeout=5.0, retry=dspex.RetryPolicy(base=0.0), api_key=KEY)
        with pytest.raises(fault.raises) as caught:
            await called(model, fault.streams)
    assert (len(server.requests), caught.value.attempts) == (AGAIN[fault.row], AGAIN[fault.row])
    assert ("after 4 attempts" in str(caught.value)) == (AGAIN[fault.row] == 4)
