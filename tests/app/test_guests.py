"""Providers that are objects of the user's: their services go with them, unless the App has them to close."""

import gc

import pytest

import dspex
from dspex.app.services import KEPT_GUESTS
from dspex.plugin import LMResponse
from dspex.plugin.manager import PluginManager


class Plain:
    async def complete(self, request):
        return LMResponse.from_text("4")


class Closing(Plain):
    closed = 0

    async def aclose(self):
        Closing.closed += 1


def services(app):
    gc.collect()
    return len(app.tree())


async def test_one_model_a_request_leaves_little_behind():
    async with dspex.App(plugins=PluginManager(lambda: ())) as app:
        for number in range(500):
            assert await dspex.LM(f"x/m{number}", provider=Plain()).acall("2+2?") == ["4"]
        assert services(app) <= KEPT_GUESTS


async def test_what_the_app_has_to_close_it_keeps_and_closes():
    Closing.closed = 0
    async with dspex.App(plugins=PluginManager(lambda: ())) as app:
        for number in range(KEPT_GUESTS + 10):
            await dspex.LM(f"x/m{number}", provider=Closing()).acall("2+2?")
        assert services(app) == KEPT_GUESTS + 10
    assert Closing.closed == KEPT_GUESTS + 10


async def test_handles_on_one_object_share_its_limits_though_none_lives_on():
    provider = Plain()
    async with dspex.App(plugins=PluginManager(lambda: ())) as app:
        await dspex.LM("x/y", provider=provider, cache=False, requests_per_minute=1).acall("2+2?")
        gc.collect()
        with pytest.raises(dspex.RateLimited):
            await dspex.LM("x/y", provider=provider, cache=False, requests_per_minute=1, timeout=5).acall("2+2?")
        assert services(app) == 1
