"""A program: eight processes write into one cache file, and now and then one of them is killed; for tests/test_crash.py.

    python nursery.py FILE KILLS SEED

Prints the keys that were acknowledged, one a line.
"""

import asyncio
import os
import random
import select
import signal
import sys
import time

from dspex_cache.sqlite import SqliteCache

PROCESSES = 8


async def write(path, name, out):
    """Write for ever; tell of each key once it has been flushed."""
    cache = SqliteCache({"path": path})
    rng = random.Random(name)
    number = 0
    while True:
        keys = [f"{name}-{number + i}".encode() for i in range(rng.randint(1, 20))]
        number += len(keys)
        for key in keys:
            await cache.set(key, key * 50)
        await cache.flush()
        os.write(out, b"".join(key + b"\n" for key in keys))
        assert cache.peek(keys[0]) == keys[0] * 50


def start(path, name, out):
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(write(path, name, out))
        finally:
            os._exit(1)
    return child


def main(path, kills, seed):
    rng = random.Random(seed)
    source, out = os.pipe()
    living = [start(path, f"{seed}.0.{place}", out) for place in range(PROCESSES)]
    told = b""
    for kill in range(1, kills + 1):
        until = time.monotonic() + rng.uniform(0.0, 0.1)
        while (left := until - time.monotonic()) > 0:
            if select.select([source], [], [], left)[0]:
                told += os.read(source, 65536)
        place = rng.randrange(PROCESSES)
        os.kill(living[place], signal.SIGKILL)
        os.waitpid(living[place], 0)
        living[place] = start(path, f"{seed}.{kill}.{place}", out)
    died = [child for child in living if os.waitpid(child, os.WNOHANG)[0]]
    for child in set(living) - set(died):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(out)
    while more := os.read(source, 65536):
        told += more
    sys.stdout.buffer.write(told)
    sys.exit(f"{len(died)} processes failed by themselves" if died else 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
