"""Work by parts: in order, a few at a time, and over with the first failure."""

import asyncio

import pytest

from dspex.plugin import by_parts


async def test_parts_come_back_in_order_and_only_a_few_run_at_once():
    running, most = 0, 0

    async def work(part):
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5 - part[0] % 5):
            await asyncio.sleep(0)
        running -= 1
        return [number * 2 for number in part]

    made = await by_parts(range(50), 2, work, at_once=4)
    assert [number for part in made for number in part] == [number * 2 for number in range(50)]
    assert most == 4


@pytest.mark.parametrize(("count", "parts"), [(0, []), (2, [[0, 1]]), (3, [[0, 1], [2]])])
async def test_the_last_part_is_what_is_left(count, parts):
    async def work(part):
        return list(part)

    assert await by_parts(list(range(count)), 2, work) == parts


async def test_the_first_failure_ends_the_others():
    ended = []

    async def work(part):
        if part == [1]:
            raise ValueError("one")
        try:
            await asyncio.Event().wait()
        finally:
            ended.extend(part)

    with pytest.raises(ValueError, match="one"):
        await by_parts([0, 1, 2], 1, work)
    assert ended == [0, 2]
