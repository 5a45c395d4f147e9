"""What every subscriber to events must do, as tests that a plugin's own test class inherits; no network."""

import asyncio
import inspect
import threading
import time
from typing import Any

from dspex.app.app import App
from dspex.app.lm import LM
from dspex.core.events import Event
from dspex.core.messages import LMResponse
from dspex.core.usage import Usage
from dspex.plugin.contracts import Subscriber
from dspex.plugin.spec import Spec
from dspex.testing.one_plugin import manager_of

LIMIT_S = 10.0
MANY = 1_000
CALLS = 20
NAME = "kit"


class Tomorrow(Event, frozen=True):
    """An event that a later kernel may have."""

    what: str = "unknown"


class SubscriberContract:
    """Subclass it as `TestMine` and give `make`; `told` may say what the subscriber has kept or written.

    `many_s` is how long 1,000 events may take it: what is slower loses events, as the queue is bounded.
    """

    many_s = 2.0

    def make(self) -> Subscriber:
        """The subscriber, as its factory gives it."""
        raise NotImplementedError

    def told(self, subscriber: Any) -> str | None:
        """All that it has told so far, as text; None: that cannot be seen here."""
        return None

    # Events

    def test_it_listens_by_a_plain_function(self) -> None:
        hears = self.make().on_event
        assert callable(hears)
        assert not inspect.iscoroutinefunction(hears), "`on_event` is called on a thread and never awaited"

    def test_it_takes_every_event(self) -> None:
        subscriber = self.make()
        for kind in kinds(Event):
            assert subscriber.on_event(kind(at=1.0, request=7)) is None, f"{kind.__name__}: it gives something back"  # type: ignore[func-returns-value]  # that is the question

    def test_an_event_that_it_does_not_know_is_let_pass(self) -> None:
        self.make().on_event(Tomorrow(at=1.0, what="new"))

    def test_it_is_quick_enough_to_lose_nothing(self) -> None:
        subscriber, events = self.make(), [kind(at=1.0) for kind in kinds(Event)]
        began = time.monotonic()
        for number in range(MANY):
            subscriber.on_event(events[number % len(events)])
            took = time.monotonic() - began
            assert took <= self.many_s, (
                f"{number + 1} events take {took:.1f} s, and {MANY} may take {self.many_s:g}: what is slower goes to a thread of its own"
            )

    # In an App

    def test_calls_are_as_they_are_without_it(self) -> None:
        subscriber, answers, troubles = self.heard()
        assert answers == [f"answer {number}" for number in range(CALLS)]
        assert not troubles, f"it failed, or lost events: {troubles}"
        told = self.told(subscriber)
        assert told is None or told, "20 calls were made, and it tells of nothing"

    def test_its_app_ends_in_time_and_leaves_no_thread_of_it(self) -> None:
        before = set(threading.enumerate())
        began = time.monotonic()
        self.heard()
        assert time.monotonic() - began < LIMIT_S / 2, "the App waits for it"
        end = time.monotonic() + 1.0
        while left := [one.name for one in threading.enumerate() if one not in before and not one.daemon]:
            assert time.monotonic() < end, f"threads live on, and hold the process: {left}"
            time.sleep(0.01)

    def test_two_apps_have_one_each(self) -> None:
        first, second = self.make(), self.make()
        assert first is not second, "two Apps would share what it keeps: make a new one in each call of the factory"

    def heard(self) -> tuple[Any, list[str], list[str]]:
        """A subscriber that has heard 20 calls, their answers, and what went wrong with it."""
        made: list[Any] = []

        def factory() -> Any:
            made.append(self.make())
            return made[-1]

        plugins = manager_of(NAME, subscribers=lambda: [Spec(NAME, factory)])
        troubles: list[str] = []

        async def main() -> list[str]:
            async with asyncio.timeout(LIMIT_S), App(plugins=plugins, cache=False) as app:
                lm = LM("kit/model", provider=Counting(), cache=False, num_retries=0)
                answers = [(await lm.acall("?"))[0] for _ in range(CALLS)]
                channels = list(app.bus.channels)
            troubles.extend(channel.trouble for channel in channels if channel.trouble)
            assert channels, "no App hears of it"
            return answers

        answers = asyncio.run(main())
        return made[0], answers, troubles


class Counting:
    """A provider that numbers its answers."""

    def __init__(self) -> None:
        self.number = -1

    async def complete(self, _request: Any) -> LMResponse:
        """The next one."""
        self.number += 1
        return LMResponse.from_text(f"answer {self.number}", Usage(3, 1))


def kinds(base: type[Event]) -> list[type[Event]]:
    """All kinds of events that this kernel has."""
    direct = [one for one in base.__subclasses__() if one.__module__ == base.__module__]
    return [one for kind in direct for one in (kind, *kinds(kind))]
