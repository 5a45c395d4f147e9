import pytest

from dspex.testing.cache_contract import CacheContract, HandClock
from dspex_cache.memory import MemoryCache
from dspex_cache.options import FILE_NAME
from dspex_cache.sqlite import SqliteCache
from dspex_cache.tiered import TieredCache


class TestMemory(CacheContract):
    def make(self, folder, clock):
        return MemoryCache({}, clock)


class TestSqlite(CacheContract):
    survives = True
    backend = SqliteCache

    def make(self, folder, clock):
        return self.backend({"path": folder / FILE_NAME}, clock)

    def broken(self, folder, clock):
        (folder / "file").write_text("a file where the folder should be")
        return self.make(folder / "file", clock)


class TestTiered(TestSqlite):
    backend = TieredCache


@pytest.mark.fault("P09")
@pytest.mark.parametrize(("jump", "found"), [(30, True), (-30, True), (90, False), (-90, False)])
async def test_a_clock_that_jumps_makes_no_value_live_on(jump, found):
    clock = HandClock()
    cache = MemoryCache({}, clock)
    await cache.set(b"key", b"value", ttl=60)
    clock.seconds += jump
    assert (await cache.get(b"key") is not None) == found
    await cache.aclose()
