"""The supervised writer, and storage that fails below it: calls go on, and nothing that was queued is lost."""

import asyncio
import resource
import sqlite3
import time

import pytest

from dspex.testing.cache_contract import HandClock
from dspex.testing.virtual_time import VirtualClock, simulate
from dspex_cache.database import STRIKES, CacheUnavailable
from dspex_cache.sqlite import SqliteCache
from dspex_cache.tiered import TieredCache


class Running:
    """A cache with its writer, inside `async with`."""

    def __init__(self, cache):
        self.cache = cache

    async def __aenter__(self):
        self.task = asyncio.create_task(self.cache.background())
        return self.cache

    async def __aexit__(self, *exc_info):
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.cache.aclose()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  another thread makes it true
            await asyncio.sleep(0.002)


def on_disk(path):
    db = sqlite3.connect(path)
    try:
        return {key for (key,) in db.execute("SELECT key FROM entries")}
    finally:
        db.close()


async def test_what_is_set_reaches_the_disk_by_itself_and_together(path):
    async with Running(SqliteCache({"path": path})) as cache:
        await until(path.exists)
        for number in range(50):
            await cache.set(b"%d" % number, b"v")
        await until(lambda: on_disk(path))
        assert len(on_disk(path)) == 50


async def test_a_set_from_another_thread_wakes_the_writer(path):
    async with Running(SqliteCache({"path": path})) as cache:
        await until(path.exists)
        await asyncio.sleep(0.05)  # it sleeps now
        await asyncio.to_thread(asyncio.run, cache.set(b"k", b"v"))
        await until(lambda: on_disk(path) == {b"k"})


async def test_an_entry_is_served_before_it_is_written(path):
    cache = SqliteCache({"path": path})
    await cache.set(b"k", b"old")
    await cache.flush()
    await cache.set(b"k", b"new")
    assert cache.peek(b"k") == b"new"
    await cache.delete(b"k")
    assert cache.peek(b"k") is None
    await cache.flush()
    assert cache.peek(b"k") is None
    await cache.aclose()


async def test_closing_writes_what_is_queued(path):
    cache = TieredCache({"path": path})
    await cache.set(b"k", b"v")
    await cache.aclose()
    assert on_disk(path) == {b"k"}


@pytest.mark.fault("P03")
@pytest.mark.parametrize("backend", [SqliteCache, TieredCache])
async def test_on_a_full_disk_set_says_so_and_what_was_queued_is_kept(path, backend):
    async with Running(backend({"path": path}, HandClock())) as cache:
        await cache.set(b"before", b"v")
        await cache.flush()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            await cache.set(b"large", bytes(200_000))
            with pytest.raises(CacheUnavailable, match=r"cache.sqlite: (disk I/O error|database or disk is full)"):
                await until_refused(cache)
            assert (cache.peek(b"before"), cache.peek(b"large")) == (b"v", bytes(200_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        await until(lambda: b"large" in on_disk(path))
        await cache.flush()
        await cache.set(b"after", b"v")


async def until_refused(cache):
    async with asyncio.timeout(10):
        while True:
            await cache.set(b"next", b"v")
            await asyncio.sleep(0.002)


@pytest.mark.fault("P03")
def test_a_missing_folder_is_tried_again_with_patience(tmp_path):
    folder = tmp_path / "gone"
    folder.write_text("a file where the folder should be")

    async def main():
        async with Running(SqliteCache({"path": folder / "cache.sqlite"}, VirtualClock())) as cache:
            await cache.set(b"k", b"v")
            await asyncio.sleep(200.0)
            with pytest.raises(CacheUnavailable, match="gone"):
                await cache.set(b"other", b"v")
            folder.unlink()
            await asyncio.sleep(61.0)
            await cache.set(b"other", b"v")
            return on_disk(folder / "cache.sqlite")

    assert simulate(main)[0] == {b"k"}


@pytest.mark.fault("P03")
async def test_what_cannot_be_written_at_the_end_is_told_once(tmp_path):
    (tmp_path / "file").write_text("")
    cache = SqliteCache({"path": tmp_path / "file" / "cache.sqlite"})
    await cache.set(b"k", b"v")
    with pytest.warns(RuntimeWarning, match=r"could not be kept: 1 \(.*Not a directory") as seen:  # noqa: PT031
        await cache.aclose()
        await cache.aclose()
    assert len(seen) == 1


@pytest.fixture
def locked(path):
    """A cache file that another process keeps for itself alone."""
    cache = SqliteCache({"path": path}, HandClock())

    async def fill():
        await cache.set(b"k", b"v")
        await cache.aclose()

    asyncio.run(fill())
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    db.execute("DELETE FROM entries WHERE key = 'other'")
    yield db
    db.close()


def test_a_locked_file_costs_little_and_is_found_free_again(path, locked):
    clock = HandClock()
    cache = SqliteCache({"path": path}, clock)
    began = time.monotonic()
    for _ in range(500):
        with pytest.raises(CacheUnavailable, match="locked"):
            cache.peek(b"k")
    assert time.monotonic() - began < 3.0  # 500 waits of 20 ms would be 10 s
    locked.close()
    clock.seconds += 2.0
    assert cache.peek(b"k") == b"v"
    asyncio.run(cache.aclose())


def test_one_who_writes_for_long_does_not_hold_up_readers(path):
    cache = SqliteCache({"path": path})

    async def work():
        await cache.set(b"k", b"v")
        await cache.flush()
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        await cache.set(b"new", b"v")
        assert (cache.peek(b"k"), cache.peek(b"new")) == (b"v", b"v")
        assert time.monotonic() - began < 1.0  # the writer would wait for 5 s
        flushing = asyncio.create_task(cache.flush())
        await asyncio.sleep(0.01)
        db.execute("COMMIT")
        db.close()
        await flushing
        await cache.aclose()

    asyncio.run(work())
    assert on_disk(path) == {b"k", b"new"}


class SlowDisk(HandClock):
    """A clock by which each read takes a second, until `fast`."""

    fast = False

    def monotonic(self):
        self.seconds += 0.0 if self.fast else 1.0
        return self.seconds


def test_a_slow_disk_is_left_alone_after_some_reads(path):
    clock = SlowDisk()
    cache = SqliteCache({"path": path}, clock)
    clock.fast = True

    async def fill():
        await cache.set(b"k", b"v")
        await cache.flush()

    asyncio.run(fill())
    clock.fast = False
    assert [cache.peek(b"k") for _ in range(STRIKES)] == [b"v"] * STRIKES
    clock.fast = True
    with pytest.raises(CacheUnavailable, match="left alone for a while: a read took 1 s"):
        cache.peek(b"k")
    clock.seconds += 2.0
    assert cache.peek(b"k") == b"v"
    asyncio.run(cache.aclose())
