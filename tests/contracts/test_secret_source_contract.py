"""The kit for sources of keys: a good one passes all of it, and each kind of bad one fails the test that is about it."""

import asyncio
import logging
import os
import time

import pytest

import dspex
from dspex.testing.secret_source_contract import SecretSourceContract

TESTS = [name for name in vars(SecretSourceContract) if name.startswith("test_")]


class Good:
    """Keeps keys in memory."""

    def __init__(self, keys):
        self.keys = dict(keys)

    async def get(self, name):
        await asyncio.sleep(0)
        return self.keys.get(name)


class Refused:
    async def get(self, name):
        raise PermissionError("the token is too old")


def kit(made, fails=Refused):
    class Kit(SecretSourceContract):
        def make(self, keys):
            return made(keys)

        def broken(self):
            return fails and fails()

    return Kit()


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("fails", [Refused, None], ids=["can fail", "cannot fail"])
def test_a_good_source_passes(name, fails):
    getattr(kit(Good, fails), name)()


class IsSync(Good):
    def get(self, name):
        return self.keys.get(name)


class AddsALine(Good):
    async def get(self, name):
        return self.keys[name] + "\n" if name in self.keys else None


class GivesTheNearest(Good):
    async def get(self, name):
        return next((value for key, value in self.keys.items() if key.startswith(name)), None)


class GivesNothingAsText(Good):
    async def get(self, name):
        return self.keys.get(name, "")


class BoundToOneLoop(Good):
    loop = None

    async def get(self, name):
        self.loop = self.loop or asyncio.get_running_loop()
        assert self.loop is asyncio.get_running_loop()
        return self.keys.get(name)


class ShowsItsKeys(Good):
    def __repr__(self):
        return f"ShowsItsKeys({self.keys})"


class GoesOnWhenCancelled(Good):
    async def get(self, name):
        for _ in range(50):
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return self.keys.get(name)


class MakesNothingOfACancellation(Good):
    async def get(self, name):
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return None
        return self.keys.get(name)


class LeavesATask(Good):
    async def get(self, name):
        self.task = asyncio.ensure_future(asyncio.sleep(3600))
        return self.keys.get(name)


class HoldsTheLoop(Good):
    async def get(self, name):
        time.sleep(0.2)  # noqa: ASYNC251  that is the fault
        return self.keys.get(name)


class LogsKeys(Good):
    async def get(self, name):
        logging.getLogger("vault").debug("%s is %s", name, self.keys.get(name))
        return self.keys.get(name)


class PutsThemIntoTheEnvironment(Good):
    async def get(self, name):
        if name in self.keys:
            os.environ["KIT_LEFT"] = self.keys[name]
        return self.keys.get(name)


class GivesTheWrongOne(Good):
    async def get(self, name):
        return self.keys.get("KIT_TWO_API_KEY")


class Silent:
    async def get(self, name):
        return None


@pytest.mark.parametrize(
    ("made", "fails", "about"),
    [
        (IsSync, None, "by_an_async_function"),
        (AddsALine, None, "as_it_is"),
        (GivesTheNearest, None, "as_it_is"),
        (GivesNothingAsText, None, "empty_vault"),
        (BoundToOneLoop, None, "several_loops"),
        (ShowsItsKeys, None, "not_shown"),
        (GoesOnWhenCancelled, None, "cancelled"),
        (MakesNothingOfACancellation, None, "cancelled"),
        (LeavesATask, None, "as_it_is"),
        (HoldsTheLoop, None, "holds_no_loop"),
        (LogsKeys, None, "not_shown"),
        (PutsThemIntoTheEnvironment, None, "not_shown"),
        (Good, Silent, "cannot_be_asked"),
        (GivesTheWrongOne, None, "first_word"),
        (Good, Silent, "named_without_a_key"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_bad_source_fails_the_test_that_is_about_it(made, fails, about, monkeypatch):
    monkeypatch.setattr("dspex.testing.secret_source_contract.LIMIT_S", 1.0)
    monkeypatch.setenv("KIT_LEFT", "")
    [name] = [name for name in TESTS if about in name]
    with pytest.raises((AssertionError, dspex.DspexError)):
        getattr(kit(made, fails), name)()
