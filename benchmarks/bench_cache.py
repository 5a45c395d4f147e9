"""The price of a cached reply, beside a dict and a bare SQLite file, in interleaved rounds of fresh keys.

    python benchmarks/bench_cache.py [--rounds 5] [--entries 3000]

Needs dspex-cache. Prints CPU microseconds of the process, the least of all rounds: of the backends alone, of a whole call of Predict that a
backend answers, and what one and eight processes write into one file a second, by the wall clock.
"""

import argparse
import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import dspex
from dspex.plugin import LMRequest, LMResponse
from dspex.testing import own_app
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


class Echo:
    """A provider that answers at once."""

    async def complete(self, request: LMRequest) -> LMResponse:
        return LMResponse.from_text("[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]")


def whole_calls(folder: Path, backend: Callable[[dict[str, Path]], Any], questions: Sequence[str]) -> dict[str, float]:
    """CPU of `await predict.acall` and of `predict()` that a backend answers; each is asked for once before the clock runs."""

    async def asked(predict: Any) -> float:
        for question in questions:
            await predict.acall(question=question)
        began = time.process_time()
        for question in questions:
            await predict.acall(question=question)
        return (time.process_time() - began) / len(questions) * 1e6

    with own_app(cache=backend({"path": folder / f"{backend.__name__}-calls"})):
        predict = dspex.Predict("question -> answer")
        predict.lm = dspex.LM("echo/one", provider=Echo())
        later = asyncio.run(asked(predict))
        at_once = price(lambda: [predict(question=question) for question in questions], len(questions))
    return {
        f"{backend.__name__}: hit, whole async call": later,
        f"{backend.__name__}: hit, whole sync call": at_once,
    }


def written_by(processes: int, folder: Path, entries: int) -> float:
    """Entries a second that so many processes write together into one file, in groups of 100."""
    program = f"""
import asyncio, os, sys, time
from dspex_cache.sqlite import SqliteCache
async def main():
    cache = SqliteCache({{"path": {str(folder / f"by-{processes}")!r}}})
    keys, value = [os.urandom(16) for _ in range({entries})], bytes(1500)
    cache.peek(keys[0])
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    for start in range(0, len(keys), 100):
        for key in keys[start : start + 100]:
            await cache.set(key, value)
        await cache.flush()
    print(time.perf_counter() - began, flush=True)
    await cache.aclose()
asyncio.run(main())
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running = [subprocess.Popen([sys.executable, "-c", program], **pipes) for _ in range(processes)]
    for one in running:
        assert one.stdout is not None
        one.stdout.readline()
    for one in running:
        assert one.stdin is not None
        one.stdin.write(b"\n")
        one.stdin.flush()
    took = [float(one.communicate()[0]) for one in running]
    assert not any(one.returncode for one in running)
    return processes * entries / max(took)


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
            questions = [key.hex() for key in keys[:1000]]
            for backend in (MemoryCache, SqliteCache, TieredCache):
                prices |= whole_calls(Path(folder), backend, questions)
        best = {name: min(value, best.get(name, value)) for name, value in prices.items()}
    for name, value in best.items():
        print(f"{name:42}{value:8.2f} us")
    for processes in (1, 8):
        with tempfile.TemporaryDirectory() as folder:
            print(
                f"sqlite: written by {processes} at a time: {written_by(processes, Path(folder), 5 * given.entries):12,.0f} a second"
            )


if __name__ == "__main__":
    main()
