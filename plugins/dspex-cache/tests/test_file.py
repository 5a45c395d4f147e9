"""The file on disk: its place, its modes, its bound, and what becomes of a damaged one."""

import asyncio
import os
import sqlite3
import stat
import warnings

import pytest

from dspex.plugin import ConfigurationError
from dspex.testing.cache_contract import HandClock
from dspex_cache.cache_file import APPLICATION_ID
from dspex_cache.database import CacheUnavailable
from dspex_cache.sqlite import SqliteCache
from dspex_cache.tiered import TieredCache


def keep(cache, entries):
    """Set and flush, on a loop of its own."""

    async def work():
        for key, value in entries.items():
            await cache.set(key, value)
        await cache.flush()

    asyncio.run(work())


def close(*caches):
    for cache in caches:
        asyncio.run(cache.aclose())


def stats(cache):
    return asyncio.run(cache.stats())


def filled(path, entries):
    cache = SqliteCache({"path": path})
    keep(cache, entries)
    close(cache)


@pytest.mark.fault("X13")
def test_nobody_else_may_read_it_whatever_the_umask(path):
    before = os.umask(0)
    try:
        cache = TieredCache()
        keep(cache, {b"k": b"v"})
    finally:
        os.umask(before)
    assert cache.path == path
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"cache.sqlite": 0o600, "cache.sqlite-wal": 0o600, "cache.sqlite-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    close(cache)


def test_without_a_setting_it_lies_in_the_users_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("DSPEX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert SqliteCache().path == tmp_path / "dspex" / "cache.sqlite"


@pytest.mark.parametrize("given", [{"size": 1}, {"ttl": -1}, {"ttl": "long"}, {"max_bytes": 10}], ids=str)
def test_an_option_that_cannot_be_is_named(given):
    with pytest.raises(
        ConfigurationError, match=f"{next(iter(given))}.*Known options: path, max_bytes, memory_bytes, ttl"
    ):
        TieredCache(given)


def test_what_one_object_flushed_another_finds_at_once(path):
    first, second = SqliteCache({"path": path}), SqliteCache({"path": path})
    assert second.peek(b"k") is None
    keep(first, {b"k": b"v"})
    assert second.peek(b"k") == b"v"
    close(first, second)


def test_it_stays_within_its_size_and_the_oldest_go(path):
    cache = SqliteCache({"path": path, "max_bytes": 1 << 20})
    for start in range(0, 3000, 100):
        keep(cache, {b"%d" % number: bytes(1000) for number in range(start, start + 100)})
        assert stats(cache)["bytes"] <= 1 << 20
    assert cache.peek(b"0") is None
    assert cache.peek(b"2999") == bytes(1000)
    close(cache)


def test_what_has_expired_goes_before_what_has_not(path):
    clock = HandClock()
    cache = SqliteCache({"path": path, "max_bytes": 1 << 20}, clock)
    keep(cache, {b"old": b"v"})
    asyncio.run(cache.set(b"brief", bytes(260_000), ttl=5.0))
    clock.seconds += 10
    keep(cache, {b"%d" % number: bytes(1000) for number in range(750)})
    assert cache.peek(b"old") == b"v"
    assert stats(cache)["expiring"] == 0
    close(cache)


def test_an_entry_that_would_fill_the_file_is_not_kept(path):
    cache = SqliteCache({"path": path, "max_bytes": 1 << 20})
    keep(cache, {b"k": bytes(1 << 19)})
    assert cache.peek(b"k") is None
    close(cache)


def overwrite_all(file):
    file.write_bytes(os.urandom(file.stat().st_size))


def overwrite_pages(file):
    with file.open("r+b") as handle:
        handle.seek(4096)
        handle.write(os.urandom(file.stat().st_size - 4096))


def cut(file):
    with file.open("r+b") as handle:
        handle.truncate(file.stat().st_size // 2 + 100)


def empty(file):
    file.write_bytes(b"")


@pytest.mark.fault("P06")
@pytest.mark.parametrize("damage", [overwrite_all, overwrite_pages, cut, empty])
def test_a_damaged_file_is_moved_aside_with_one_warning(path, damage):
    filled(path, {b"%d" % number: b"v" * 3000 for number in range(50)})
    damage(path)
    cache = TieredCache({"path": path})
    with pytest.warns(RuntimeWarning, match=r"was damaged. It now lies at .*\.damaged-") as seen:  # noqa: PT031
        found = [cache.peek(b"%d" % number) for number in range(50)]
        keep(cache, {b"new": b"v"})
        keep(cache, {b"newer": b"v"})
    assert set(found) <= {None, b"v" * 3000}
    assert len(seen) == 1
    assert stats(cache)["entries"] == 2
    assert len(list(path.parent.glob("*.damaged-*"))) == 1
    close(cache)


@pytest.mark.fault("P06")
def test_two_who_find_the_damage_move_it_once(path):
    filled(path, {b"k": b"v"})
    overwrite_all(path)
    first, second = SqliteCache({"path": path}), SqliteCache({"path": path})
    assert (first.peek(b"k"), second.peek(b"k")) == (None, None)
    with pytest.warns(RuntimeWarning, match="damaged"):
        keep(first, {b"first": b"1"})
    keep(second, {b"second": b"2"})
    assert (first.peek(b"second"), second.peek(b"first")) == (b"2", b"1")
    close(first, second)


def test_where_warnings_are_errors_the_damage_is_mended_all_the_same(path):
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    cache = SqliteCache({"path": path})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep(cache, {b"k": b"v"})
    assert cache.peek(b"k") == b"v"
    close(cache)


def foreign(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE precious(x)")
    db.close()


def newer(path):
    with sqlite3.connect(path) as db:
        db.executescript(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=7; CREATE TABLE entries(x)")
    db.close()


def link(path):
    path.with_name("elsewhere").write_text("precious")
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("make", "message"),
    [(foreign, "another program.*a path of its own"), (newer, "format 7 is newer"), (link, "not a regular file")],
    ids=["foreign", "newer", "link"],
)
def test_a_file_that_is_not_ours_is_left_as_it_is(path, make, message):
    path.parent.mkdir()
    make(path)
    before = path.read_bytes()
    cache = SqliteCache({"path": path})
    with pytest.raises(CacheUnavailable, match=message):
        keep(cache, {b"k": b"v"})
    with pytest.raises(CacheUnavailable, match=message):
        cache.peek(b"other")
    assert path.read_bytes() == before
    with pytest.warns(RuntimeWarning, match="could not be kept: 1"):
        close(cache)


def test_a_file_that_somebody_removed_is_made_again(path):
    cache = SqliteCache({"path": path})
    keep(cache, {b"k": b"v"})
    for file in path.parent.iterdir():
        file.unlink()
    keep(cache, {b"new": b"v"})
    filled(path, {})
    other = SqliteCache({"path": path})
    assert (other.peek(b"new"), cache.peek(b"new")) == (b"v", b"v")
    close(cache, other)
