"""The price of a cached reply, beside a dict and a bare SQLite file, in interleaved rounds of fresh keys.

    python benchmarks/bench_cache.py [--rounds 5] [--entries 3000]

Needs dspex-cache. Prints CPU microseconds of the process, the least of all rounds.
"""

import argparse
import asyncio
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from dspex_cache.memory import MemoryCache
from dspex_cache.sqlite import SqliteCache
from dspex_cache.tiered import TieredCache

VALUE = os.urandom(1500)


def price(calls: Callable[[], object], number: int) -> float:
    """CPU microseconds of one of `number` calls."""
    began = time.process_time()
    calls()
    return (time.process_time() - began) / number * 1e6


def raw_sqlite(path: Path, keys: Sequence[bytes]) -> dict[str, float]:
    """What SQLite takes by itself, through Python's own module: batches of 100, and reads one by one."""

    def write(db: sqlite3.Connection) -> None:
        for start in range(0, len(keys), 100):
            db.execute("BEGIN")
            db.executemany("INSERT INTO entries VALUES (?, ?)", [(key, VALUE) for key in keys[start : start + 100]])
            db.execute("COMMIT")

    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("CREATE TABLE entries(key BLOB NOT NULL UNIQUE, value BLOB NOT NULL)")
        find = "SELECT value FROM entries WHERE key = ?"
        return {
            "raw SQLite: write, in batches": price(lambda: write(db), len(keys)),
            "raw SQLite: read": price(lambda: [db.execute(find, (key,)).fetchone() for key in keys], len(keys)),
        }


async def cached(folder: Path, keys: Sequence[bytes]) -> dict[str, float]:
    """The three backends: what `set` takes with and without its writing, and what `peek` takes."""
    memory, sqlite, tiered = (
        kind({"path": folder / kind.__name__}) for kind in (MemoryCache, SqliteCache, TieredCache)
    )
    prices = {}
    for name, cache in (("memory", memory), ("tiered", tiered)):
        began = time.process_time()
        for key in keys:
            await cache.set(key, VALUE)
        prices[f"{name}: set"] = (time.process_time() - began) / len(keys) * 1e6
    began = time.process_time()
    for start in range(0, len(keys), 100):
        for key in keys[start : start + 100]:
            await sqlite.set(key, VALUE)
        await sqlite.flush()
    prices["sqlite: set and write, in batches"] = (time.process_time() - began) / len(keys) * 1e6
    await tiered.flush()
    for name, cache in (("memory", memory), ("tiered, in memory", tiered), ("sqlite", sqlite)):
        cache.peek(keys[0])
        prices[f"{name}: hit"] = price(lambda cache=cache: [cache.peek(key) for key in keys], len(keys))
    absent = [key + b"?" for key in keys]
    prices["tiered: miss"] = price(lambda: [tiered.peek(key) for key in absent], len(keys))
    for cache in (memory, sqlite, tiered):
        await cache.aclose()
    return prices


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--entries", type=int, default=3000)
    given = parser.parse_args()
    best: dict[str, float] = {}
    for _ in range(given.rounds):
        keys = [os.urandom(16) for _ in range(given.entries)]
        with tempfile.TemporaryDirectory() as folder:
            table = dict.fromkeys(keys, VALUE)
            prices = {"a dict: read": price(lambda table=table, keys=keys: [table[key] for key in keys], len(keys))}
            prices |= raw_sqlite(Path(folder) / "raw", keys)
            prices |= asyncio.run(cached(Path(folder), keys))
        best = {name: min(value, best.get(name, value)) for name, value in prices.items()}
    for name, value in best.items():
        print(f"{name:36}{value:8.2f} us")


if __name__ == "__main__":
    main()
