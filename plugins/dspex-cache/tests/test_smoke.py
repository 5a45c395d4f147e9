"""The plugin as its users meet it, on every supported Python."""

import asyncio
import subprocess
import sys

import pytest

import dspex
from dspex.plugin import LMResponse


class Provider:
    """Answers with the number of its calls."""

    calls = 0

    async def complete(self, request):
        self.calls += 1
        return LMResponse.from_text(str(self.calls))


@pytest.fixture
def provider():
    return Provider()


@pytest.mark.parametrize("name", [True, "memory", "sqlite", "tiered"])
async def test_a_reply_is_paid_for_once(provider, name, tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path))
    async with dspex.App(cache=name):
        lm = dspex.LM("smoke/one", provider=provider)
        assert [await lm.acall("hello") for _ in range(3)] == [["1"]] * 3
        assert await lm.acall("hello", rollout_id=1, temperature=1.0) == ["2"]


def test_a_reply_outlives_its_loop_and_its_app(provider, tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path))

    async def main():
        async with dspex.App():
            return await dspex.LM("smoke/one", provider=provider).acall("hello")

    assert [asyncio.run(main()) for _ in range(3)] == [["1"]] * 3


def test_the_command_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "dspex", "cache", "stats"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "there is no file yet" in done.stdout


def test_importing_the_plugin_loads_nothing_heavy():
    heavy = {"sqlite3", "click", "platformdirs", "asyncio"}
    program = (
        "import sys, dspex.plugin; before = set(sys.modules); import dspex_cache; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())
