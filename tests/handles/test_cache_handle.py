"""The cache by name, with options, emptied and looked at."""

import pytest

import dspex
from dspex.plugin import LMResponse
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source


class Backend:
    """A CacheBackend in memory that knows how it was made."""

    def __init__(self, options, clock):
        self.options, self.kept = options, {}
        if "wrong" in options:
            raise dspex.ConfigurationError("no option 'wrong'")

    async def get(self, key):
        return self.kept.get(key)

    async def set(self, key, value, ttl=None):
        self.kept[key] = value

    async def delete(self, key):
        self.kept.pop(key, None)

    async def clear(self):
        self.kept.clear()

    async def stats(self):
        return {"entries": len(self.kept), "bytes": sum(map(len, self.kept.values()))}

    async def aclose(self):
        pass


class Provider:
    asked = 0

    async def complete(self, request):
        self.asked += 1
        return LMResponse.from_text("4")


class Plugin:
    @staticmethod
    @dspex.hookimpl
    def dspex_caches():
        return [dspex.Spec(name, Backend) for name in ("default", "memory", "sqlite", "tiered")]


@pytest.fixture
async def app():
    async with dspex.App(plugins=PluginManager(lambda: [Source("caches", Plugin)], environ={})) as app:
        yield app


def made(app):
    """The options that the cache in use was made with."""
    service = app.cache_service()
    return None if service is None else service.backend.options


async def test_a_cache_takes_its_options_by_name(app):
    dspex.configure(cache=dspex.Cache("sqlite", path="x.sqlite", ttl=60))
    assert made(app) == {"path": "x.sqlite", "ttl": 60}
    assert repr(dspex.settings.cache) == "Cache('sqlite', path='x.sqlite', ttl=60)"
    dspex.configure(cache="sqlite")
    assert made(app) == {}


async def test_an_option_that_the_cache_refuses_is_a_typed_error(app):
    dspex.configure(cache=dspex.Cache("sqlite", wrong=1))
    with pytest.raises(dspex.ConfigurationError, match="wrong"):
        await dspex.LM("x/y", provider=Provider()).acall("2+2?")


async def test_an_unknown_cache_is_named_with_those_there_are(app):
    dspex.configure(cache=dspex.Cache("sqlit"))
    with pytest.raises(dspex.ConfigurationError, match=r"cache 'sqlit'.*Did you mean 'sqlite'"):
        await dspex.cache.aclear()


@pytest.mark.parametrize(
    ("arguments", "name", "options"),
    [
        ({}, "tiered", {}),
        (
            {"disk_cache_dir": "/c", "disk_size_limit_bytes": 1e9},
            "tiered",
            {"path": "/c/cache.sqlite", "max_bytes": 10**9},
        ),
        ({"enable_memory_cache": False, "restrict_pickle": True}, "sqlite", {}),
        ({"enable_disk_cache": False, "safe_types": [int]}, "memory", {}),
    ],
)
async def test_the_arguments_of_dspy_choose_a_cache(app, arguments, name, options):
    dspex.configure_cache(**arguments)
    assert made(app) == options
    assert name in repr(dspex.settings.cache)


async def test_both_caches_off_is_no_cache(app):
    dspex.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    assert app.cache_service() is None
    assert repr(dspex.cache) == "<dspex.cache: none>"
    await dspex.cache.aclear()
    assert await dspex.cache.astats() == {"hits": 0, "misses": 0}


async def test_an_argument_that_would_do_nothing_is_refused(app):
    with pytest.raises(dspex.ConfigurationError, match="memory_bytes="):
        dspex.configure_cache(memory_max_entries=10)


async def test_the_cache_tells_its_figures_and_forgets(app):
    provider = Provider()
    lm = dspex.LM("x/y", provider=provider)
    for _ in range(3):
        await lm.acall("2+2?")
    stats = await dspex.cache.astats()
    assert (stats["hits"], stats["misses"], stats["entries"]) == (2, 1, 1)
    await dspex.cache.aclear()
    await lm.acall("2+2?")
    assert provider.asked == 2


def test_the_sync_forms_do_the_same():
    dspex.configure(cache=Backend({}, None))
    lm = dspex.LM("x/y", provider=Provider())
    lm("2+2?")
    assert dspex.cache.stats() == {"hits": 0, "misses": 1, "entries": 1, "bytes": dspex.cache.stats()["bytes"]}
    dspex.cache.clear()
    assert dspex.cache.stats()["entries"] == 0


async def test_what_is_configured_anew_with_the_same_value_goes_on(app):
    dspex.configure(budget=dspex.Budget(calls=2))
    lm = dspex.LM("x/y", provider=Provider())
    await lm.acall("1?")
    before = app.cache_service()
    saved = dspex.settings.copy()
    dspex.configure(num_threads=3)
    dspex.configure(**saved)
    assert app.cache_service() is before
    await lm.acall("2?")
    with pytest.raises(dspex.BudgetExceeded):
        await lm.acall("3?")
