import pytest

from dspex_cache.entry import Entry
from dspex_cache.memory import OVERHEAD_BYTES, Memory

BOUND = 10 * (OVERHEAD_BYTES + 1000)


@pytest.fixture
def memory():
    return Memory(BOUND, lambda: 0.0)


def fill(memory, names):
    for name in names:
        memory.put(name.encode(), Entry(b"x" * 1000, 0.0))


def test_the_least_recently_used_entry_goes_first(memory):
    fill(memory, "abcdefghij")
    assert memory.find(b"a") is not None
    fill(memory, "k")
    assert memory.find(b"b") is None
    assert [memory.find(name.encode()) is not None for name in "acdefghijk"] == [True] * 10


def test_its_bytes_never_pass_the_bound(memory):
    for size in range(0, 20_000, 700):
        memory.put(b"%d" % size, Entry(b"x" * size, 0.0))
        assert memory.bytes <= BOUND


def test_an_entry_larger_than_the_bound_is_not_kept_and_costs_no_other(memory):
    fill(memory, "ab")
    memory.put(b"b", Entry(b"x" * BOUND, 0.0))
    assert memory.find(b"b") is None
    assert memory.find(b"a") is not None


def test_bytes_are_given_back(memory):
    fill(memory, "aabbc")
    memory.drop(b"a")
    memory.drop(b"a")
    assert memory.bytes == 2 * (OVERHEAD_BYTES + 1000)
    memory.clear()
    assert (memory.bytes, len(memory)) == (0, 0)
