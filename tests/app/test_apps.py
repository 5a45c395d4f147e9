"""An App owns all state: two in one process share nothing, and one that ends lets everything go."""

import asyncio
import threading
import time

import pytest

import dspex
import dspex.testing
from dspex.core.events import RequestStarted
from dspex.plugin import LMResponse
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source

AT_ONCE = dspex.RetryPolicy(attempts=2, base=0.0)


class Provider:
    """Answers with a text; counts starts and ends."""

    def __init__(self, text="4", start_fails=0, close=None):
        self.text = text
        self.start_fails, self.close = start_fails, close
        self.started = self.closed = self.asked = 0

    async def start(self):
        self.started += 1
        await asyncio.sleep(0)
        if self.started <= self.start_fails:
            raise OSError("no model file")

    async def complete(self, request):
        self.asked += 1
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{self.text} of {request.model}")

    async def aclose(self):
        self.closed += 1
        if self.close is not None:
            await self.close()


class Cache:
    """A CacheBackend in memory."""

    def __init__(self):
        self.kept = {}
        self.closed = 0

    def peek(self, key):
        return self.kept.get(key)

    async def set(self, key, value, ttl=None):
        self.kept[key] = value

    async def aclose(self):
        self.closed += 1


async def test_two_apps_answer_differently_at_once():
    predict = dspex.Predict("question -> answer")
    barrier = asyncio.Barrier(2)

    async def ask(name):
        async with dspex.App(lm=dspex.LM(f"x/{name}", provider=Provider(name)), cache=Cache()) as app:
            await barrier.wait()
            answers = [(await predict.acall(question="2+2?")).answer for _ in range(3)]
            await barrier.wait()
            return answers, len(app.settings.cache.kept)

    one, two = await asyncio.gather(ask("one"), ask("two"))
    assert one == (["one of one"] * 3, 1)
    assert two == (["two of two"] * 3, 1)


async def test_the_end_of_one_app_leaves_the_other():
    first, second = Provider(), Provider()
    async with dspex.App(lm=dspex.LM("x/a", provider=first)):
        async with dspex.App(lm=dspex.LM("x/b", provider=second)):
            await dspex.settings.lm.acall("2+2?")
        assert second.closed == 1
        await dspex.settings.lm.acall("2+2?")
        assert first.closed == 0
    assert first.closed == 1


async def test_one_handle_serves_several_apps():
    provider = Provider()
    lm = dspex.LM("x/y", provider=provider)
    for _ in range(2):
        async with dspex.App():
            assert len(await lm.acall("2+2?")) == 1


def test_one_provider_may_serve_several_models():
    provider = Provider()
    lms = [dspex.LM(f"x/{name}", provider=provider) for name in ("a", "b")]
    assert [lm("2+2?") for lm in lms] == [["[[ ## answer ## ]]\n4 of a"], ["[[ ## answer ## ]]\n4 of b"]]


async def test_a_provider_is_started_once_for_all_calls():
    provider = Provider()
    async with dspex.App():
        lm = dspex.LM("x/y", provider=provider)
        await asyncio.gather(*(lm.acall(f"{number}?") for number in range(50)))
    assert (provider.started, provider.asked, provider.closed) == (1, 50, 1)


async def test_a_start_that_failed_is_tried_again_by_the_next_call():
    provider = Provider(start_fails=2)
    async with dspex.App():
        lm = dspex.LM("x/y", provider=provider, num_retries=0)
        with pytest.raises(dspex.PluginError, match="'x' could not start: OSError: no model file"):
            await lm.acall("2+2?")
        assert len(await lm.copy(retry=AT_ONCE).acall("2+2?")) == 1


async def fails():
    raise OSError("cannot be closed")


async def exits():
    raise SystemExit(1)


async def hangs():
    await asyncio.sleep(1e6)


@pytest.mark.parametrize("close", [fails, exits, hangs])
def test_what_cannot_be_closed_is_named_and_hinders_no_other(close):
    bad, good, cache = Provider(close=close), Provider(), Cache()

    async def main():
        async with dspex.App(cache=cache):
            for name, provider in (("bad", bad), ("good", good)):
                await dspex.LM(f"x/{name}", provider=provider).acall("2+2?")

    with pytest.warns(RuntimeWarning, match="x/bad could not be closed"):
        dspex.testing.simulate(main)
    assert (bad.closed, good.closed, cache.closed) == (1, 1, 1)


async def test_a_cache_that_was_replaced_is_closed_with_its_app():
    first, second = Cache(), Cache()
    async with dspex.App(cache=first) as app:
        lm = dspex.LM("x/y", provider=Provider())
        await lm.acall("2+2?")
        app.configure(cache=second)
        await lm.acall("2+2?")
        app.configure(cache=False)
        await lm.acall("2+2?")
    assert (len(first.kept), len(second.kept)) == (1, 1)
    assert (first.closed, second.closed) == (1, 1)


def test_the_default_app_of_a_script_is_used_again_after_it_was_closed():
    provider = Provider()
    lm = dspex.LM("x/y", provider=provider)
    lm("2+2?")
    dspex.testing.reset()
    assert len(lm("2+2?")) == 1
    assert provider.closed == 1


# Events


class Hears:
    """A Subscriber that keeps what it hears."""

    def __init__(self, then=lambda: None):
        self.heard, self.then = [], then

    def on_event(self, event):
        self.heard.append(event)
        self.then()


def with_subscribers(*factories):
    """A manager with these subscribers."""
    specs = [dspex.Spec(f"s{number}", factory) for number, factory in enumerate(factories)]

    class Module:
        dspex_subscribers = staticmethod(dspex.hookimpl(lambda: specs))

    return PluginManager(lambda: [Source("a", Module)], environ={})


async def test_subscribers_hear_of_each_call():
    hears = Hears()
    async with dspex.App(plugins=with_subscribers(lambda: hears)):
        lm = dspex.LM("x/y", provider=Provider())
        await lm.acall("2+2?")
        with pytest.raises(dspex.PluginError):
            await dspex.LM("x/z", provider=Provider(start_fails=9), retry=AT_ONCE).acall("2+2?")
    kinds = [type(event).__name__ for event in hears.heard]
    assert kinds == [
        "RequestStarted",
        "RequestFinished",
        "RequestStarted",
        "AttemptFailed",
        "AttemptFailed",
        "RequestFinished",
    ]
    assert len({event.request for event in hears.heard}) == 2
    first, last = hears.heard[1], hears.heard[-1]
    assert (first.provider, first.model, first.attempts, first.cached, first.error) == ("x", "y", 1, False, None)
    assert last.error == "PluginError"


def fail():
    raise ValueError("odd")


def leave():
    raise SystemExit


@pytest.mark.fault("G10")
@pytest.mark.parametrize("then", [fail, leave])
async def test_a_subscriber_that_fails_is_named_once_and_hinders_nobody(then):
    bad, good = Hears(then), Hears()

    async def five_calls():
        async with dspex.App(plugins=with_subscribers(lambda: bad, lambda: good)):
            for number in range(5):
                await dspex.LM("x/y", provider=Provider()).acall(f"{number}?")

    with pytest.warns(RuntimeWarning) as told:
        await five_calls()
    assert [str(one.message).split(":")[0] for one in told] == ["Subscriber 's0' failed"]
    assert len(good.heard) == len(bad.heard) == 10


@pytest.mark.fault("G10")
async def test_a_subscriber_that_cannot_be_made_is_named_and_hinders_nobody():
    good = Hears()
    with pytest.warns(RuntimeWarning, match="Subscriber 's0' hears nothing: 's0' could not be made: ValueError: odd"):
        async with dspex.App(plugins=with_subscribers(fail, lambda: good)):
            await dspex.LM("x/y", provider=Provider()).acall("2+2?")
    assert len(good.heard) == 2


@pytest.mark.fault("G10")
@pytest.mark.fault("R27")
async def test_a_blocked_subscriber_loses_events_and_slows_no_call():
    gate = threading.Event()
    blocked = Hears(gate.wait)
    async with dspex.App(plugins=with_subscribers(lambda: blocked)) as app:
        lm = dspex.LM("x/y", provider=Provider(), cache=False)
        for _ in range(5_100):
            await lm.acall("2+2?")
        [channel] = app.bus.channels
        assert channel.dropped >= 10_200 - 10_000 - 1
        event, began = RequestStarted(0.0, 1, "x", "y", ()), time.process_time()
        for _ in range(100_000):
            app.bus.publish(event)
        assert time.process_time() - began < 100_000 * 5e-6  # a call takes some 50 times as much
        assert channel.dropped >= 110_200 - 10_000 - 1
        gate.set()
    assert len(blocked.heard) + channel.dropped == 110_200
