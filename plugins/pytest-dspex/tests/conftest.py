"""Runs of pytest inside this one, each over files of its own."""

import gc
import importlib
import pkgutil

import aiohttp  # noqa: F401  as below
import pytest

import dspex

pytest_plugins = ["pytester"]


def pytest_configure():
    """Load all of dspex once: what an inner run imports first is gone with it, and the next one would have a second copy."""
    for module in pkgutil.walk_packages(dspex.__path__, "dspex."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # each inner run ends with full collections


@pytest.fixture
def run(pytester):
    """`run(source, "-k", "x")` writes a test file and runs pytest over it; gives the result of the run."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")

    def run(source=None, *words, name="test_one", process=False):
        if source is not None:
            pytester.makepyfile(**{name: source})
        start = pytester.runpytest_subprocess if process else pytester.runpytest_inprocess
        return start("-p", "no:cacheprovider", "--strict-markers", "-W", "error", *words)

    return run
