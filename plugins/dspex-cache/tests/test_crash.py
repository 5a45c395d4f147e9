"""Processes: killed, side by side, forked, and ended without a word."""

import asyncio
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dspex_cache.sqlite import SqliteCache
from dspex_cache.tiered import TieredCache

NURSERY = Path(__file__).with_name("nursery.py")


def python(*arguments, timeout=30):
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)], check=False, capture_output=True, timeout=timeout
    )


@pytest.mark.fault("R5")
@pytest.mark.parametrize(("kills", "runs"), [(30, 1), (2, 3)], ids=["30 kills", "kills at the beginning"])
def test_eight_processes_and_kill_9_lose_nothing_that_was_flushed(tmp_path, kills, runs):
    for seed in range(runs):
        path = tmp_path / f"new-{seed}" / "cache.sqlite"
        done = python(NURSERY, path, kills, seed)
        assert done.returncode == 0, done.stderr.decode()
        acknowledged = done.stdout.split()
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = dict(db.execute("SELECT key, value FROM entries"))
        db.close()
        assert acknowledged
        assert [key for key in acknowledged if kept.get(key) != key * 50] == []


def test_another_process_finds_what_was_flushed(path):
    cache = SqliteCache({"path": path})
    assert cache.peek(b"k") is None
    program = f"""
import asyncio
from dspex_cache.tiered import TieredCache
async def main():
    cache = TieredCache({{"path": {str(path)!r}}})
    await cache.set(b"k", b"v")
    await cache.aclose()
asyncio.run(main())
"""
    done = python("-c", program)
    assert (done.returncode, done.stderr) == (0, b"")
    assert cache.peek(b"k") == b"v"
    asyncio.run(cache.aclose())


@pytest.mark.fault("P20")
def test_a_script_that_closes_nothing_still_keeps_what_it_set(path):
    program = f"""
import asyncio
from dspex_cache.tiered import TieredCache
cache = TieredCache({{"path": {str(path)!r}}})
asyncio.run(cache.set(b"k", b"v"))
"""
    done = python("-c", program)
    assert (done.returncode, done.stderr) == (0, b"")
    cache = SqliteCache({"path": path})
    assert cache.peek(b"k") == b"v"
    asyncio.run(cache.aclose())


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_cache_that_nobody_closes_lets_go_of_its_file_even_in_the_midst_of_writing(path):
    async def abandon():
        cache = SqliteCache({"path": path})
        await cache.set(b"k", b"v" * 200_000)
        asyncio.get_running_loop().run_in_executor(None, cache._queue.commit)

    for _ in range(20):
        asyncio.run(abandon())
        gc.collect()
    cache = SqliteCache({"path": path})
    assert cache.peek(b"k") == b"v" * 200_000
    asyncio.run(cache.aclose())


async def child_life(cache, number):
    assert cache.peek(b"before") == b"v"
    await cache.set(b"child-%d" % number, b"v")
    assert cache.peek(b"child-%d" % number) == b"v"
    await cache.flush()


@pytest.mark.fault("P10")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_and_its_parent_both_go_on(path):
    cache = TieredCache({"path": path})

    async def parent_life(done):
        await cache.set(b"before", b"v")
        await cache.flush()
        while not done.is_set():
            await cache.set(b"parent", b"v" * 1000)
            await cache.flush()

    done = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(parent_life(done)))
    thread.start()
    while cache.peek(b"before") is None:
        pass
    for number in range(10):
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # a lock that nobody releases would hold it for ever
            code = 1
            try:
                asyncio.run(child_life(cache, number))
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
    done.set()
    thread.join()
    assert [cache.peek(b"child-%d" % number) for number in range(10)] == [b"v"] * 10
    asyncio.run(cache.aclose())
