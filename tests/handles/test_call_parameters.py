"""What a call may say beside its prompt, and what a copy of a handle changes."""

import asyncio
import re
from functools import partial

import pytest

import dspex
from dspex.plugin import LMDelta, LMResponse, Unavailable, Usage
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.testing import VirtualClock, simulate

KEY = "sk-canary-4711"


class Provider:
    """Keeps what came; fails as often as it is told, and may be slow."""

    capabilities = dspex.Capabilities(stream=True)

    def __init__(self, failures=0, seconds=0.0):
        self.failures, self.seconds, self.requests = failures, seconds, []

    async def complete(self, request):
        self.requests.append(request)
        await asyncio.sleep(self.seconds)
        if len(self.requests) <= self.failures:
            raise Unavailable("down")
        return LMResponse.from_text("[[ ## answer ## ]]\n4", Usage(10, 5))

    async def stream(self, request):
        reply = await self.complete(request)
        yield LMDelta(reply.choices[0].text, finish_reason="stop", usage=reply.usage)


class Cache(dict):
    """A CacheBackend in memory."""

    async def get(self, key):
        return super().get(key)

    async def set(self, key, value, ttl=None):
        self[key] = value

    async def delete(self, key):
        self.pop(key, None)

    async def aclose(self):
        pass


@pytest.mark.parametrize("n", ["x", -1, 2.5])
def test_a_number_of_completions_that_is_none_is_refused(n):
    provider = Provider()
    lm = dspex.LM("acme/m", provider=provider, cache=False)
    with pytest.raises(dspex.ConfigurationError, match=f"^n={n!r}: it is a number of completions"):
        lm("2+2?", n=n)
    with pytest.raises(dspex.ConfigurationError, match=f"^n={n!r}: "):
        dspex.Predict("question -> answer", n=n)(question="2+2?", lm=lm)
    assert provider.requests == []


def test_a_model_that_is_no_text_is_refused():
    with pytest.raises(dspex.ConfigurationError, match="LM takes 'provider/model', not 3"):
        dspex.LM(3)


def virtual(main):
    async def inside():
        async with dspex.App(clock=VirtualClock(), plugins=PluginManager(lambda: ()), cache=Cache(), seed=1):
            return await main()

    return simulate(inside)[0]


async def called(lm, **more):
    await lm.acall("2+2?", **more)


async def predicted(lm, **more):
    await dspex.Predict("question -> answer", **more).acall(question="2+2?", lm=lm)


async def streamed(lm, **more):
    async for _ in lm.stream(lm.request((dspex.plugin.Message.of("user", "2+2?"),), more)):
        pass


async def fallen_back(lm, **more):
    await dspex.Fallback(lm).acall("2+2?", **more)


WAYS = pytest.mark.parametrize("ask", [called, predicted, streamed, fallen_back])


@WAYS
def test_a_call_may_pass_by_the_cache(ask):
    provider = Provider()

    async def main():
        lm = dspex.LM("x/y", provider=provider, temperature=0.5)
        for more in ({}, {}, {"cache": False}, {"cache": False}, {}):
            await ask(lm, **more)
        return lm.history[-1]["kwargs"]

    assert virtual(main) == {"temperature": 0.5}
    assert [request.params for request in provider.requests] == [{"temperature": 0.5}] * 3


@WAYS
def test_a_call_may_have_a_time_of_its_own(ask):
    async def main():
        lm = dspex.LM("x/y", provider=Provider(seconds=10.0))
        with pytest.raises(dspex.DspexError, match="No reply within 3 s"):
            await ask(lm, timeout=3.0)
        await ask(lm)

    virtual(main)


@WAYS
@pytest.mark.parametrize("retries", [0, 1, 5])
def test_a_call_may_have_retries_of_its_own(ask, retries):
    provider = Provider(failures=5)

    async def main():
        lm = dspex.LM("x/y", provider=provider, num_retries=2)
        try:
            await ask(lm, num_retries=retries)
        except dspex.LMError:
            return False
        return True

    assert virtual(main) == (retries == 5)
    assert len(provider.requests) == retries + 1


HANDLES = [
    {"api_key": KEY},
    {"api_base": "http://other"},
    {"headers": {"authorization": KEY}},
    {"extra_headers": {"authorization": KEY}},
    {"max_in_flight": 3},
]


@pytest.mark.parametrize("ask", [called, predicted, streamed])
@pytest.mark.parametrize("more", HANDLES, ids=lambda more: next(iter(more)))
def test_where_a_call_goes_and_what_it_shows_there_is_the_handles_own(ask, more):
    provider, [name] = Provider(), more

    async def main():
        with pytest.raises(dspex.ConfigurationError, match=rf"lm.copy\({name}=") as caught:
            await ask(dspex.LM("x/y", provider=provider), **more)
        return str(caught.value)

    assert KEY not in virtual(main)
    assert not provider.requests


class Endpoint:
    """A provider that answers with where it was to go and what it had to show."""

    def __init__(self, endpoint, http):
        self.endpoint = endpoint

    async def complete(self, request):
        key = self.endpoint.api_key
        return LMResponse.from_text(
            f"{key and key.reveal()} {self.endpoint.base_url} {dict(self.endpoint.headers)} {request.params}"
        )


class Module:
    dspex_lm_providers = staticmethod(dspex.hookimpl(lambda: [dspex.Spec("acme", Endpoint)]))


async def test_a_copy_may_go_elsewhere_and_sends_no_more_than_before(monkeypatch):
    monkeypatch.delenv("ACME_API_KEY", raising=False)
    async with dspex.App(plugins=PluginManager(lambda: [Source("a", Module)], environ={}), cache=False):
        lm = dspex.LM("acme/m", api_key="first", api_base="http://one", temperature=0.5)
        other = lm.copy(api_key=KEY, base_url="http://two", headers={"x-team": "a"}, max_in_flight=2)
        assert KEY not in f"{vars(other)} {other.dump_state()}"
        assert await lm.acall("?") == ["first http://one {} {'temperature': 0.5}"]
        assert await other.acall("?") == [f"{KEY} http://two {{'x-team': 'a'}} {{'temperature': 0.5}}"]
        assert await other.copy(api_base="http://three", temperature=None).acall("?") == [
            f"{KEY} http://three {{'x-team': 'a'}} {{}}"
        ]
        assert other.service.attempts.limits.limit == 2
        assert other.history[0]["kwargs"] == {"temperature": 0.5}


@pytest.mark.parametrize(
    "given",
    [{"timeout": 0}, {"timeout": -1}, {"timeout": "soon"}, {"num_retries": -1}, {"num_retries": None}, {"retry": 5}],
    ids=str,
)
@pytest.mark.parametrize(
    "make", [partial(dspex.LM, "x/y"), partial(dspex.Embedder, "x/y"), partial(dspex.Retriever, "x")]
)
def test_a_time_or_a_number_of_retries_that_cannot_be_is_refused(make, given):
    [(name, value)] = given.items()
    with pytest.raises(dspex.ConfigurationError, match=f"^{name}={value!r}"):
        make(**given)


@pytest.mark.parametrize("make", [partial(dspex.LM, "x/y"), dspex.LM("x/y").copy], ids=["LM", "copy"])
@pytest.mark.parametrize("given", [{"breaker": 5}, {"http_limits": 5}, {"capabilities": ["chat"]}], ids=str)
def test_terms_of_a_wrong_kind_are_refused(make, given):
    [(name, value)] = given.items()
    with pytest.raises(dspex.ConfigurationError, match=f"^{name}={re.escape(repr(value))}: it takes"):
        make(**given)


@pytest.mark.parametrize("make", [dspex.LM, lambda model: dspex.LM("x/y").copy(model=model)], ids=["LM", "copy"])
@pytest.mark.parametrize("model", [None, 5, ["x/y"], "", "gpt"], ids=repr)
def test_what_names_no_model_is_refused(make, model):
    with pytest.raises(
        dspex.ConfigurationError, match=r"takes 'provider/model'|name the provider too, as in LM\('openai/\w+"
    ):
        make(model)


HANDLES = [
    partial(dspex.LM, "x/y"),
    dspex.LM("x/y").copy,
    partial(dspex.Embedder, "x/y"),
    partial(dspex.Retriever, "x"),
]


@pytest.mark.parametrize(
    ("make", "given"),
    [
        *((make, given) for make in HANDLES for given in ({"api_key": KEY.encode()}, {"headers": [KEY]})),
        *((make, {"extra_headers": [KEY]}) for make in HANDLES[:2]),
    ],
)
def test_what_cannot_be_a_key_or_headers_is_refused_and_not_shown(make, given):
    with pytest.raises(dspex.ConfigurationError, match=r"takes a .*text.*, not a value of type") as caught:
        make(**given)
    assert KEY not in str(caught.value)


def test_an_address_that_is_empty_is_not_taken_for_none():
    assert dspex.LM("acme/m", api_base="")._connection.base_url == ""


@pytest.mark.parametrize(
    "ask", [lambda: dspex.LM("x/y", stream=True), lambda: dspex.LM("x/y", provider=object())("?", stream=True)]
)
def test_a_stream_is_no_parameter_as_its_reply_would_be_paid_for_and_not_be_read(ask):
    with pytest.raises(dspex.ConfigurationError, match=r"'?stream.*: a call gives its whole reply; dspex\.streamify"):
        ask()
