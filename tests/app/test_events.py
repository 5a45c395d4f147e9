"""Each thing that happens to calls is told to subscribers, as one typed struct."""

import asyncio
import threading

import pytest

import dspex
from dspex.core import events
from dspex.plugin import BadRequest, LMResponse, Unavailable, Usage
from dspex.plugin.manager import PluginManager
from dspex.testing import VirtualClock, simulate


class Steps:
    """A provider that takes the next of its steps at each call: an error to raise, or an answer."""

    def __init__(self, *steps):
        self.steps = list(steps)

    async def complete(self, request):
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return LMResponse.from_text(step, Usage(10, 5))


class Unwritable:
    """A cache that can read nothing and write nothing."""

    async def get(self, key):
        raise OSError("disk gone")

    async def set(self, key, value, ttl=None):
        raise OSError("disk gone")

    async def aclose(self): ...


async def dying():
    await asyncio.sleep(2.0)
    raise OSError("gone")


async def retried():
    await dspex.LM("x/y", provider=Steps(Unavailable("down"), "4")).acall("2+2?")


async def broken():
    lm = dspex.LM(
        "x/y",
        provider=Steps(*[Unavailable("down")] * 60, "4"),
        breaker=dspex.BreakerPolicy(),
        num_retries=0,
        cache=False,
    )
    for _ in range(60):
        with pytest.raises(dspex.LMError):
            await lm.acall("2+2?")


async def refused():
    with dspex.budget(calls=0), pytest.raises(dspex.BudgetExceeded):
        await dspex.LM("x/y", provider=Steps("4")).acall("2+2?")


async def failed():
    with pytest.raises(BadRequest):
        await dspex.LM("x/y", provider=Steps(BadRequest("no"))).acall("2+2?")


async def restarted():
    dspex.app.app.current_app().supervise("writer", dying)
    await asyncio.sleep(3.0)


HAPPENINGS = {
    "a request": (failed, events.RequestStarted, {"provider": "x", "model": "y"}),
    "its end": (failed, events.RequestFinished, {"error": "BadRequest", "attempts": 1}),
    "a retry": (retried, events.AttemptFailed, {"error": "Unavailable", "attempt": 1}),
    "a breaker": (broken, events.BreakerChanged, {"is_open": True}),
    "a budget": (refused, events.BudgetRefused, {"unit": "calls", "limit": 0, "spent": 0, "model": "y"}),
    "a restart": (restarted, events.ChildRestarted, {"child": "writer", "error": "OSError", "restarts": 1}),
}


def heard_of(work, **settings):
    heard = []

    async def main():
        async with dspex.App(clock=VirtualClock(), plugins=PluginManager(lambda: ()), seed=1, **settings) as app:
            app.bus.subscribe(heard.append, "test")
            await work()

    simulate(main)
    return heard


@pytest.mark.parametrize(("work", "kind", "facts"), HAPPENINGS.values(), ids=HAPPENINGS)
def test_what_happens_is_told(work, kind, facts):
    told = [event for event in heard_of(work) if isinstance(event, kind)]
    assert told
    assert {name: getattr(told[0], name) for name in facts} == facts


@pytest.mark.parametrize(
    ("event", "level", "fields"),
    [
        (events.LoopBlocked(0.0, 0, "metric", "m.py:3", 0.06), "warning", {"what": "metric", "where": "m.py:3"}),
        (
            events.BudgetRefused(0.0, 7, "x", "y", "calls", 3, 3, ("Two",)),
            "warning",
            {"unit": "calls", "module": "Two"},
        ),
        (events.SecretAsked(0.0, 0, "X_API_KEY", "vault", True), "debug", {"name": "X_API_KEY", "source": "vault"}),
    ],
    ids=["a blocked loop", "a budget", "a secret"],
)
def test_each_is_a_line_of_its_level(event, level, fields):
    lines = []

    class Logger:
        def __getattr__(self, level):
            return lambda event, **given: lines.append((level, given))

    dspex.enable_logging("debug", logger=Logger())
    dspex.app.app.current_app().bus.publish(event)
    dspex.disable_logging()
    [(at, given)] = lines
    assert at == level
    assert fields.items() <= given.items()


def test_a_cache_that_fails_is_told_by_its_class():
    with pytest.warns(RuntimeWarning, match="cannot read"):
        heard = heard_of(retried, cache=Unwritable())
    [event] = [event for event in heard if isinstance(event, events.CacheFailed)]
    assert event.backend == "Unwritable"
    assert "disk gone" in event.error


@pytest.mark.fault("G10")
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), GeneratorExit(), KeyboardInterrupt()], ids=repr)
def test_whatever_a_subscriber_raises_it_hears_the_next_event(error):
    heard = []

    def hear(event):
        heard.append(event)
        raise error

    app = dspex.App(plugins=PluginManager(lambda: ()))
    app.bus.subscribe(hear, "odd")
    with pytest.warns(RuntimeWarning, match="Subscriber 'odd' failed"):
        tree = told_three_times(app)
    assert [event.request for event in heard] == [0, 1, 2]
    assert f"events to odd: running, {type(error).__name__}" in tree


def told_three_times(app):
    for number in range(3):
        app.bus.publish(events.CacheFailed(0.0, number))
    [channel] = app.bus.channels
    while not channel.trouble:
        threading.Event().wait(0.001)
    tree = str(app.tree()[0])
    app.bus.close()
    return tree
