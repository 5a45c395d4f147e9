"""The cache in Redis: shared, apart by prefix, and never the reason that a call fails."""

import asyncio
import warnings

import pytest

import dspex
from dspex.plugin import ConfigurationError, LMResponse
from dspex_redis.cache import RedisCache
from dspex_redis.options import RedisOptions


class Provider:
    """Answers with the number of its calls."""

    calls = 0

    async def complete(self, request):
        self.calls += 1
        return LMResponse.from_text(str(self.calls))


def asked(cache, provider, *questions):
    """The replies to questions one after another, in an App of their own."""

    async def main():
        async with dspex.App(cache=cache):
            lm = dspex.LM("house/one", provider=provider)
            return [(await lm.acall(question))[0] for question in questions]

    return asyncio.run(main())


def test_a_reply_is_paid_for_once_by_all_processes_that_share_a_server(shared):
    provider = Provider()
    caches = [dspex.Cache("redis", url=shared.url, prefix="shared:", patience=5.0) for _ in range(2)]
    assert asked(caches[0], provider, "a?", "a?", "b?") == ["1", "1", "2"]
    assert asked(caches[1], provider, "a?", "b?", "c?") == ["1", "2", "3"]


def test_prefixes_are_apart_also_where_they_look_like_patterns(shared):
    async def main():
        star, plain = (RedisCache({"url": shared.url, "prefix": prefix, "patience": 5.0}) for prefix in ("x*:", "xy:"))
        await star.set(b"k", b"star")
        await plain.set(b"k", b"plain")
        assert (await star.stats())["entries"] == 1
        await star.clear()
        found = await star.get(b"k"), await plain.get(b"k")
        await plain.clear()
        await star.aclose()
        await plain.aclose()
        return found

    assert asyncio.run(main()) == (None, b"plain")


def test_many_entries_are_counted_and_cleared(shared):
    async def main():
        cache = RedisCache({"url": shared.url, "prefix": "many:", "patience": 5.0})
        await asyncio.gather(*(cache.set(b"%d" % number, b"v" * 84) for number in range(1_300)))
        before = await cache.stats()
        await cache.clear()
        after = await cache.stats()
        await cache.aclose()
        return before, after

    before, after = asyncio.run(main())
    assert before == {"entries": 1_300, "bytes": 130_000}
    assert after == {"entries": 0, "bytes": 0}


def test_a_life_is_the_servers_too(shared):
    async def main():
        cache = RedisCache({"url": shared.url, "prefix": "life:", "ttl": 3600, "patience": 5.0})
        await cache.set(b"k", b"v")
        client = cache._clients.get()
        left = await client.pttl(b"life:k")
        await cache.set(b"k", b"v", ttl=5)
        brief = await client.pttl(b"life:k")
        await cache.aclose()
        return left, brief

    left, brief = asyncio.run(main())
    assert 3_590_000 < left <= 3_600_000
    assert 0 < brief <= 5_000


def test_what_is_too_large_or_not_ours_is_a_miss(shared):
    async def main():
        cache = RedisCache({"url": shared.url, "prefix": "odd:", "max_bytes": 10, "patience": 5.0})
        await cache.set(b"large", b"v" * 11)
        await cache._clients.get().set(b"odd:foreign", b"short")
        found = await cache.get(b"large"), await cache.get(b"foreign")
        await cache.aclose()
        return found

    assert asyncio.run(main()) == (None, None)


def test_what_others_keep_under_the_prefix_in_another_form_is_neither_read_nor_counted(shared):
    async def main():
        cache = RedisCache({"url": shared.url, "prefix": "list:", "patience": 5.0})
        await cache._clients.get().rpush("list:theirs", "x")
        await cache.set(b"ours", b"v" * 84)
        counted = await cache.stats()
        await cache.clear()
        await cache.aclose()
        return counted

    assert asyncio.run(main()) == {"entries": 1, "bytes": 100}


def test_a_call_that_is_cancelled_leaves_its_reply_to_no_other(own):
    own.start()

    async def main():
        cache = RedisCache({"url": own.url, "patience": 5.0, "connections": 2})
        for number in range(8):
            await cache.set(b"%d" % number, b"value %d" % number)
        for turns in range(12):
            tasks = [asyncio.ensure_future(cache.get(b"%d" % number)) for number in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for number in range(4, 8):
                assert await cache.get(b"%d" % number) == b"value %d" % number
        await cache.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis://host.invalid:6379/0", "unix:///nowhere/redis.sock"])
def test_a_server_that_is_not_there_costs_one_warning_and_no_call(url):
    cache = dspex.Cache("redis", url=url)
    with pytest.warns(RuntimeWarning, match="cache") as told:
        assert asked(cache, Provider(), "a?", "a?", "b?") == ["1", "2", "3"]
    assert len(told) == 1


def test_a_wrong_password_is_told_without_it(shared):
    cache = dspex.Cache("redis", url=shared.url.replace("canary", "wrong"))
    with pytest.warns(RuntimeWarning, match="cache") as told:
        assert asked(cache, Provider(), "a?") == ["1"]
    assert "pw-wrong" not in str(told[0].message)


def test_a_server_that_dies_means_misses_and_one_that_is_back_is_used(own):
    own.start()
    provider = Provider()

    async def main():
        cache = RedisCache({"url": own.url, "patience": 5.0})
        async with dspex.App(cache=cache) as app:
            lm = dspex.LM("house/one", provider=provider)
            assert await lm.acall("a?") == ["1"]
            assert await lm.acall("a?") == ["1"]
            own.stop()
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                assert await lm.acall("a?") == ["2"]
            assert len(told) == 1
            own.start()
            await cache.set(b"k", b"v")  # the same client, a new connection
            assert await cache.get(b"k") == b"v"
            assert await lm.acall("b?") == ["3"]
            assert await lm.acall("b?") == ["3"]
            return app

    asyncio.run(main())


def test_a_server_that_is_full_keeps_nothing_and_costs_no_call(own):
    own.start("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    cache = dspex.Cache("redis", url=own.url, patience=5.0)
    with pytest.warns(RuntimeWarning, match="cache"):
        assert asked(cache, Provider(), "a?", "a?") == ["1", "2"]


def test_a_server_that_hangs_is_left_alone_after_its_patience(own):
    own.start()
    import signal

    cache = dspex.Cache("redis", url=own.url, patience=0.2)
    own.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.warns(RuntimeWarning, match="cache"):
            assert asked(cache, Provider(), "a?", "b?", "c?") == ["1", "2", "3"]
    finally:
        own.process.send_signal(signal.SIGCONT)


def test_the_address_comes_from_the_environment(shared, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://host.invalid:1/0")
    monkeypatch.setenv("DSPEX_REDIS_URL", shared.url)
    cache = RedisCache({"prefix": "env:"})
    assert str(shared.port) in repr(cache)
    assert shared.password not in repr(cache) + repr(cache.options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "http://host"}, "no address of a Redis server"),
        ({"url": "localhost:6379"}, "no address of a Redis server"),
        ({"url": "redis://host:port/0"}, "no address of a Redis server"),
        ({"url": "redis://host:65536/0"}, "no address of a Redis server"),
        ({"host": "x"}, "Known options: url, prefix"),
        ({"ttl": 0}, "Expected `float` > 0.0 - at `$.ttl`"),
    ],
)
def test_options_that_cannot_be_are_named(given, said):
    with pytest.raises(ConfigurationError, match="Redis") as caught:
        RedisCache(given)
    assert said in str(caught.value)


def test_a_password_is_not_told_with_a_wrong_address():
    with pytest.raises(ConfigurationError) as caught:
        RedisCache(RedisOptions(url="https://:pw-canary@host"))
    assert "pw-canary" not in str(caught.value)
