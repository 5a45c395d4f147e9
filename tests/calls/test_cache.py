"""A reply that is had costs nothing, and a cache that fails costs misses only."""

import asyncio
import threading
import warnings

import pytest

import dspex
from dspex.plugin import Choice, LMResponse


class Cache:
    """A CacheBackend in memory, without `peek`; `broken` names methods that raise."""

    def __init__(self, *broken):
        self.kept = {}
        self.broken = broken

    def _check(self, name):
        if name in self.broken:
            raise OSError(28, "No space left on device")

    async def get(self, key):
        self._check("get")
        return self.kept.get(key)

    async def set(self, key, value, ttl=None):
        self._check("set")
        self.kept[key] = value

    async def delete(self, key):
        self._check("delete")
        self.kept.pop(key, None)

    async def aclose(self):
        self._check("aclose")


class Peeking(Cache):
    """The same, answering at once."""

    def peek(self, key):
        self._check("peek")
        return self.kept.get(key)


BACKENDS = pytest.mark.parametrize("backend", [Cache, Peeking])


@BACKENDS
def test_an_equal_call_is_answered_from_the_cache(virtual, script, backend):
    provider = script(seconds=1.0)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        with dspex.track_usage() as usage:
            return [await lm.acall("2+2?") for _ in range(3)], usage.total.calls

    assert virtual(main, cache=backend()) == ([["4"]] * 3, 1)
    assert len(provider.requests) == 1


@BACKENDS
@pytest.mark.parametrize(
    ("other", "more"),
    [
        ({"temperature": 0.5}, 1),
        ({"rollout_id": 1}, 1),
        ({"stop": ["x"]}, 1),
        ({"n": 2}, 2),
        ({"temperature": 1.0}, 0),  # the LM's own
        ({"rollout_id": None}, 0),
    ],
    ids=str,
)
def test_a_key_holds_what_changes_the_reply(virtual, script, backend, other, more):
    provider = script()

    async def main():
        lm = dspex.LM("x/y", provider=provider, temperature=1)
        await lm.acall("2+2?")
        await lm.acall("2+2?", **other)
        await lm.acall("2+2?", **other)

    virtual(main, cache=backend())
    assert len(provider.requests) == 1 + more


@pytest.mark.fault("X12")
@pytest.mark.parametrize("other", [("z/y", {}), ("x/z", {}), ("x/y", {"api_base": "http://other"})], ids=str)
def test_other_endpoints_have_replies_of_their_own(virtual, script, other):
    model, options = other

    async def main():
        first = dspex.LM("x/y", provider=script("first"), api_base="http://one")
        second = dspex.LM(model, provider=script("second"), **{"api_base": "http://one"} | options)
        return await first.acall("2+2?") + await second.acall("2+2?")

    assert virtual(main, cache=Cache()) == ["first", "second"]


def test_a_rollout_id_is_not_sent(virtual, script):
    provider = script()

    async def main():
        await dspex.LM("x/y", provider=provider).acall("2+2?", rollout_id=7, temperature=1.0)

    virtual(main)
    assert provider.requests[0].params == {"temperature": 1.0}


def test_an_lm_may_do_without_the_cache(virtual, script):
    provider, cache = script(), Cache()

    async def main():
        lm = dspex.LM("x/y", provider=provider, cache=False)
        await lm.acall("2+2?")
        await lm.acall("2+2?")

    virtual(main, cache=cache)
    assert len(provider.requests) == 2
    assert not cache.kept


@BACKENDS
def test_a_hit_needs_no_permit_and_no_budget(virtual, script, backend):
    async def main():
        lm = dspex.LM("x/y", provider=script(0.0, "4", 1e4, "slow"), max_in_flight=1)
        await lm.acall("2+2?")
        slow = asyncio.create_task(lm.copy(timeout=900.0).acall("slow?"))
        await asyncio.sleep(1)
        with dspex.budget(calls=0):
            hit = await asyncio.wait_for(lm.acall("2+2?"), 1)
        slow.cancel()
        return hit

    assert virtual(main, cache=backend()) == ["4"]


@pytest.mark.fault("B03")
@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_cut_reply_is_not_kept(virtual, script, reason):
    cut = LMResponse((Choice("whole"), Choice("cu", finish_reason=reason)))
    provider = script(cut)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        for _ in range(2):
            await lm.acall("2+2?", n=2)

    cache = Cache()
    provider.capabilities = dspex.Capabilities(n=True)
    virtual(main, cache=cache)
    assert len(provider.requests) == 2
    assert not cache.kept


def test_a_reply_that_does_not_parse_is_forgotten(virtual, script):
    good = "[[ ## answer ## ]]\n4"
    provider = script("no form", "none again", good)

    async def main():
        predict = dspex.Predict("question -> answer: int")
        with dspex.context(lm=dspex.LM("x/y", provider=provider)):
            with pytest.raises(dspex.AdapterParseError):
                await predict.acall(question="2+2?")
            return [(await predict.acall(question="2+2?")).answer for _ in range(2)]

    assert virtual(main, cache=Cache()) == [4, 4]
    assert len(provider.requests) == 3


@pytest.mark.fault("P03")
@pytest.mark.fault("R23")
@pytest.mark.parametrize(
    "backend",
    [Cache("get"), Cache("set"), Cache("get", "set", "delete"), Peeking("peek"), Peeking("peek", "set")],
    ids=["get", "set", "all", "peek", "peek and set"],
)
def test_a_failing_cache_is_one_warning_and_misses(virtual, script, backend):
    provider = script()

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        for number in range(3):
            assert await lm.acall(f"{number}?") == ["4"]
        await lm.forget(lm.request((), {}))

    with pytest.warns(RuntimeWarning) as told:
        virtual(main, cache=backend)
    assert len(told) == 1
    assert "No space left on device" in str(told[0].message)
    assert "calls go on without it" in str(told[0].message)
    assert len(provider.requests) == 3


class Late(Cache):
    """Takes `seconds` for each step, until `healed`; it may say how patient one should be."""

    def __init__(self, seconds, **patience):
        super().__init__()
        self.seconds, self.asked = seconds, 0
        vars(self).update(patience)

    async def get(self, key):
        await self.wait()
        return await super().get(key)

    async def set(self, key, value, ttl=None):
        await self.wait()
        await super().set(key, value)

    async def wait(self):
        self.asked += 1
        await asyncio.sleep(self.seconds)


@pytest.mark.fault("R23")
@pytest.mark.parametrize("seconds", [1.0, 1e7], ids=["slow", "hangs"])
def test_a_slow_cache_is_left_alone_for_a_while_and_then_tried_again(virtual, script, settled, seconds):
    provider, cache = script(), Late(seconds)

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        slow = [(await settled(lm.acall("2+2?")))[0].seconds for _ in range(5)]
        cache.seconds = 0.01
        await asyncio.sleep(5)
        return slow, [(await settled(lm.acall("2+2?")))[0].value for _ in range(2)]

    with pytest.warns(RuntimeWarning, match=r"cannot read \(TimeoutError: it takes more than 0.05 s\)") as told:
        slow, later = virtual(main, cache=cache)
    assert len(told) == 1
    assert max(slow) == slow[0] == pytest.approx(0.05, abs=1e-3)
    assert slow[1:] == pytest.approx([0] * 4, abs=1e-3)
    assert later == [["4"]] * 2
    assert len(provider.requests) == 6  # the last is a hit


@pytest.mark.fault("R23")
def test_a_cache_may_ask_for_more_patience(virtual, script):
    provider = script()

    async def main():
        return [await dspex.LM("x/y", provider=provider).acall("2+2?") for _ in range(2)]

    assert virtual(main, cache=Late(1.0, patience=2.0)) == [["4"]] * 2
    assert len(provider.requests) == 1


def test_a_busy_loop_is_not_held_against_the_cache(virtual, script):
    provider = script()

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        await lm.acall("2+2?")
        asked = asyncio.create_task(lm.acall("2+2?"))
        while not asked.done():
            await asyncio.sleep(0)
            asyncio.get_running_loop().seconds += 0.07  # somebody holds it beyond the patience
        return asked.result()

    assert virtual(main, cache=Late(0.02)) == ["4"]
    assert len(provider.requests) == 1


@pytest.mark.fault("P06")
@pytest.mark.parametrize("value", [b"", b"junk", b"\x93\x01\x02"], ids=repr)
def test_a_damaged_entry_is_a_miss(virtual, script, value):
    cache = Cache()

    async def main():
        lm = dspex.LM("x/y", provider=script())
        await lm.acall("2+2?")
        cache.kept = dict.fromkeys(cache.kept, value)
        return await lm.acall("2+2?")

    with pytest.warns(RuntimeWarning, match="cannot read"):
        assert virtual(main, cache=cache) == ["4"]


def test_a_hit_of_a_sync_call_crosses_no_thread(script):
    dspex.configure(cache=Peeking())
    lm = dspex.LM("x/y", provider=script())
    asyncio.run(lm.acall("2+2?"))
    before = set(threading.enumerate())
    assert lm("2+2?") == ["4"]
    assert set(threading.enumerate()) <= before


def test_an_app_without_a_cache_plugin_has_none(virtual, script):
    provider = script()

    async def main():
        lm = dspex.LM("x/y", provider=provider)
        await lm.acall("2+2?")
        await lm.acall("2+2?")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        virtual(main)
    assert len(provider.requests) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()], ids=["nan", "inf", "object"])
def test_a_parameter_without_a_form_on_the_wire_is_refused(virtual, script, settled, value):
    provider = script()

    async def main():
        return await settled(dspex.LM("x/y", provider=provider).acall("2+2?", temperature=value))

    [done] = virtual(main)
    assert isinstance(done.error, dspex.BadRequest)
    assert not provider.requests
