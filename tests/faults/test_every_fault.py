"""Each fault that the fault server knows ends as it says, in time, and the next call is a good one."""

import pytest

from dspex.testing import FAULTS


def test_there_are_many_and_each_is_of_a_row():
    assert len(FAULTS) >= 40
    assert {fault.row[0] for fault in FAULTS.values()} == {"N", "S", "B", "T"}


@pytest.mark.fault("R8")
@pytest.mark.parametrize("fault", FAULTS)
def test_each_ends_as_it_says_and_the_next_call_is_a_good_one(kit, fault):
    kit.test_a_fault_ends_as_it_says_and_the_next_call_is_a_good_one(fault)
