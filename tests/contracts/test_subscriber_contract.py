"""The kit for subscribers: a good one passes all of it, and each kind of bad one fails the test that is about it."""

import threading
import time

import pytest

from dspex.testing.subscriber_contract import SubscriberContract

TESTS = [name for name in vars(SubscriberContract) if name.startswith("test_")]


class Good:
    """Keeps the names of events."""

    def __init__(self):
        self.names = []

    def on_event(self, event):
        self.names.append(type(event).__name__)


def kit(made):
    class Kit(SubscriberContract):
        many_s = 0.5

        def make(self):
            return made()

        def told(self, subscriber):
            return " ".join(subscriber.names)

    return Kit()


@pytest.mark.parametrize("name", TESTS)
def test_a_good_subscriber_passes(name):
    getattr(kit(Good), name)()


class IsAsync(Good):
    async def on_event(self, event):
        pass


class GivesBack(Good):
    def on_event(self, event):
        return event


class KnowsSomeOnly(Good):
    def on_event(self, event):
        self.names.append(event.provider)


class KnowsTodaysOnly(Good):
    def on_event(self, event):
        if type(event).__module__ != "dspex.core.events":
            raise NotImplementedError(type(event).__name__)
        super().on_event(event)


class Slow(Good):
    def on_event(self, event):
        time.sleep(0.001)


class Stuck(Good):
    def on_event(self, event):
        time.sleep(1)


class Failing(Good):
    def on_event(self, event):
        if type(event).__name__ == "RequestFinished":
            raise OSError("no room left")


class Deaf(Good):
    def on_event(self, event):
        pass


class HoldsTheProcess(Good):
    def __init__(self):
        super().__init__()
        threading.Thread(target=time.sleep, args=(2,), name="writer").start()


ONE = Good()


@pytest.mark.parametrize(
    ("made", "about"),
    [
        (IsAsync, "plain_function"),
        (GivesBack, "takes_every_event"),
        (KnowsSomeOnly, "takes_every_event"),
        (KnowsTodaysOnly, "does_not_know"),
        (Slow, "quick_enough"),
        (Stuck, "quick_enough"),
        (Failing, "as_they_are_without_it"),
        (Deaf, "as_they_are_without_it"),
        (HoldsTheProcess, "leaves_no_thread"),
        (lambda: ONE, "two_apps"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@pytest.mark.filterwarnings("ignore:Subscriber 'kit' failed:RuntimeWarning")
def test_a_bad_subscriber_fails_the_test_that_is_about_it(made, about):
    [name] = [name for name in TESTS if about in name]
    with pytest.raises((AssertionError, AttributeError, NotImplementedError)):
        getattr(kit(made), name)()
