"""The cache inside an App: paid for once, supervised, and never the reason for a failed call."""

import asyncio
import sqlite3

import pytest

import dspex
from dspex.plugin import LMResponse
from dspex.testing import reset
from dspex_cache.sqlite import SqliteCache
from dspex_cache.tiered import TieredCache


class Counting:
    """A provider that counts what is paid for."""

    def __init__(self):
        self.calls = 0

    async def complete(self, request):
        self.calls += 1
        await asyncio.sleep(0)
        return LMResponse.from_text(f"reply to {request.messages[-1].text}")


@pytest.fixture
def provider():
    return Counting()


def lm(provider):
    return dspex.LM("counting/one", provider=provider)


async def test_the_default_keeps_replies_for_the_next_process(provider, path):
    for _ in range(2):
        async with dspex.App():
            assert await lm(provider).acall("hello") == ["reply to hello"]
    assert provider.calls == 1
    assert path.exists()


@pytest.mark.parametrize("name", ["memory", "sqlite", "tiered"])
async def test_each_backend_is_chosen_by_its_name(provider, name):
    async with dspex.App(cache=name):
        for _ in range(3):
            await lm(provider).acall("hello")
    assert provider.calls == 1


def test_a_sync_program_pays_once_too(provider, path):
    dspex.configure(cache=TieredCache({"path": path}))
    assert [lm(provider)("hello") for _ in range(3)] == [["reply to hello"]] * 3
    reset()

    async def later():
        async with dspex.App(cache=SqliteCache({"path": path})):
            return await lm(provider).acall("hello")

    assert asyncio.run(later()) == ["reply to hello"]
    assert provider.calls == 1


@pytest.mark.fault("P19")
async def test_a_writer_that_dies_is_started_again_and_loses_nothing(provider, path):
    async with dspex.App(cache=TieredCache({"path": path})) as app:
        model = lm(provider)
        for turn in range(3):
            await model.acall(f"question {turn}")
            async with asyncio.timeout(5):
                while not any(row.name == "cache" and row.restarts == turn for row in app.tree()):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            [writer] = [task for task in asyncio.all_tasks() if task.get_name() == "app:cache"]
            writer.cancel()
        await model.acall("the last")
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM entries").fetchone() == (4,)
    db.close()


@pytest.mark.fault("P03")
@pytest.mark.fault("R23")
@pytest.mark.parametrize("backend", [SqliteCache, TieredCache])
async def test_a_cache_that_cannot_be_used_is_told_once_and_no_call_fails(provider, tmp_path, backend):
    (tmp_path / "file").write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match=r"cannot (read|write) \(CacheUnavailable: .*go on without it") as seen:  # noqa: PT031
        async with dspex.App(cache=backend({"path": tmp_path / "file" / "cache.sqlite"})):
            model = lm(provider)
            for turn in range(100):
                assert await model.acall(f"question {turn}") == [f"reply to question {turn}"]
                await asyncio.sleep(0.001)
    assert provider.calls == 100
    assert len(seen) == 1
