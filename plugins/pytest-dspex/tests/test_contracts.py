"""Subclasses of kits are collected, and an unfinished one says what it lacks."""

KIT = """
from dspex.testing import SubscriberContract

class Heard:
    def __init__(self): self.names = []
    def on_event(self, event): self.names.append(type(event).__name__)

class MySubscriber(SubscriberContract):
    def make(self): return Heard()

class TestOther(SubscriberContract):
    def make(self): return Heard()

def test_beside(): pass
"""
UNFINISHED = """
from dspex.testing import LMProviderContract

class Mine(LMProviderContract):
    pass

class Base(LMProviderContract):
    __test__ = False
"""


def test_a_subclass_of_a_kit_is_collected_whatever_its_name(run):
    result = run(KIT, "-q")
    result.assert_outcomes(passed=15)


def test_they_can_be_picked_and_left_out(run):
    run(KIT, "-m", "dspex_contract").assert_outcomes(passed=14, deselected=1)
    run(None, "-m", "not dspex_contract").assert_outcomes(passed=1, deselected=14)


def test_an_unfinished_one_says_what_it_has_to_give(run):
    result = run(UNFINISHED)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*Mine is not finished. It has to give:*",
            "*recordings: Good replies by name*",
            "*spec: What the plugin declares*",
        ]
    )


GIVEN = """
import pytest
from dspex.testing import SubscriberContract

class Heard:
    def __init__(self): self.names = []
    def on_event(self, event): self.names.append(type(event).__name__)

class TestMine(SubscriberContract):
    @pytest.fixture(autouse=True)
    def given(self):
        self.make = Heard

class TestOther(TestMine):
    pass

class TestUses(SubscriberContract):
    @pytest.fixture(autouse=True)
    def given(self):
        self.before = self.make
"""


def test_what_a_fixture_sets_is_given(run):
    result = run(GIVEN)
    result.assert_outcomes(passed=14, failed=1)
    result.stdout.fnmatch_lines(["*TestUses is not finished. It has to give:*", "*make: *"])


def test_a_kit_that_is_only_imported_is_none(run):
    run("from dspex.testing import CacheContract as TestCacheContract\ndef test_one(): pass").assert_outcomes(passed=1)
