from dspex.testing.cache_contract import CacheContract
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
