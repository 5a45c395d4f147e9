"""Work on many things by a service that takes few at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 8


async def by_parts(
    items: Sequence[T], size: int, work: Callable[[Sequence[T]], Awaitable[R]], at_once: int = AT_ONCE
) -> list[R]:
    """What `work` makes of each `size` items, in order; `at_once` of them run side by side. The first failure ends the others."""
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    if len(parts) == 1:
        return [await work(parts[0])]
    room = asyncio.Semaphore(at_once)

    async def one(part: Sequence[T]) -> R:
        async with room:
            return await work(part)

    tasks = [asyncio.ensure_future(one(part)) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
