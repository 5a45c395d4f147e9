"""Which of a provider's APIs is called: `model_type` reaches a provider that has several, and is refused by any other."""

import msgspec
import pytest

import dspex
from dspex.plugin import LMResponse
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source


class Options(msgspec.Struct, frozen=True):
    """What a provider with several APIs says."""

    model_type: str = "chat"


class Provider:
    """Answers with the options that made it, and the parameters that came."""

    def __init__(self, endpoint, http):
        self.endpoint = endpoint

    async def complete(self, request):
        return LMResponse.from_text(f"{dict(self.endpoint.options)} {dict(request.params)}")


class Module:
    @staticmethod
    @dspex.hookimpl
    def dspex_lm_providers():
        return [dspex.Spec("one", Provider), dspex.Spec("many", Provider, options=Options)]


@pytest.fixture
async def app():
    async with dspex.App(plugins=PluginManager(lambda: [Source("a", Module)], environ={}), cache=False) as app:
        yield app


@pytest.mark.parametrize("model_type", ["responses", "text"])
async def test_a_provider_of_several_apis_is_told_which(app, model_type):
    lm = dspex.LM("many/m", model_type)
    assert await lm.acall("?") == [f"{{'model_type': '{model_type}'}} {{}}"]
    assert await lm.copy(model_type="chat").acall("?") == ["{} {}"]
    assert lm.identity != lm.copy(model_type="chat").identity
    assert await dspex.LM.load_state(lm.dump_state()).acall("?") == await lm.acall("?")


async def test_a_provider_of_one_api_says_that_it_has_no_other(app):
    assert await dspex.LM("one/m", "chat").acall("?") == ["{} {}"]
    with pytest.raises(dspex.ConfigurationError, match=r"dspex.LM\('one/m'\): 'one' has no model_type='responses'"):
        await dspex.LM("one/m", "responses").acall("?")


async def test_a_cassette_plays_what_another_api_said(app, tmp_path):
    with dspex.cassette(tmp_path / "tape.jsonl", mode="record"):
        said = await dspex.LM("many/m", "responses").acall("?")
    with dspex.cassette(tmp_path / "tape.jsonl", mode="replay"):
        assert await dspex.LM("many/m", "responses").acall("?") == said
        with pytest.raises(dspex.CassetteMiss):
            await dspex.LM("many/m").acall("?")
