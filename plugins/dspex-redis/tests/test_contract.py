import pytest

from dspex.testing.cache_contract import CacheContract
from dspex_redis.cache import RedisCache


class TestRedis(CacheContract):
    survives = True

    @pytest.fixture(autouse=True)
    def server(self, shared):
        self.url = shared.url

    def make(self, folder, clock):
        return RedisCache({"url": self.url, "prefix": f"{folder.parent.name}/{folder.name}:", "patience": 10.0}, clock)

    def broken(self, folder, clock):
        return RedisCache({"url": "redis://127.0.0.1:1/0"}, clock)
