"""What every kernel test gets without asking: folders of its own, no shared App, and a look for what it left running."""

import asyncio
import contextlib
import faulthandler
import gc
import importlib
import inspect
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

# A shared machine decides how long an example takes; pytest-timeout bounds the test.
settings.register_profile("dspex", deadline=None, print_blob=True)
settings.load_profile("dspex")


TEARDOWN_LIMIT_S = 60
REAL_STDERR = pytest.StashKey[int]()
HOMES = pytest.StashKey[Iterator[str]]()
# Of pytest-xdist: gw0, gw1, ..; empty in a process that does it all.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr at hand, for what is said just before the process ends; let processes of tests hear Ctrl-C."""
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        config.stash[REAL_STDERR] = os.dup(2)
    # A shell starts what it runs in the background deaf to it, and every child would be so too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    base = tempfile.mkdtemp(prefix="dspex-tests-")
    config.add_cleanup(partial(shutil.rmtree, base, ignore_errors=True))
    # Not there yet, each another; most tests need none, and a tmp_path for each takes its time.
    config.stash[HOMES] = (f"{base}/{number}" for number in itertools.count())


# What every test gets comes by hooks: a fixture for all costs each a twentieth of what a test that does nothing takes.


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Function) -> None:
    """Caches and runs lie in a folder of the test's own; an async test fails if it leaves a task running or a task's
    exception unread, as pytest alone lets both pass.
    """
    home = next(item.config.stash[HOMES])
    os.environ.update(DSPEX_CACHE_DIR=f"{home}/cache", DSPEX_RUNS_DIR=f"{home}/runs")
    # Hypothesis hides the test in a function that is not async.
    function = getattr(item, "function", None)  # what a plugin puts in a test's place may have none
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    if inspect.iscoroutinefunction(inner):
        # What other tests have left in place, such as modules, is set aside, so that a collection looks at this test's only.
        gc.collect()
        gc.freeze()
        if "watched_loop" not in item.fixturenames:
            item.fixturenames.insert(0, "watched_loop")


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A worker of pytest-xdist sends one report of a test that passed, with the seconds of all three, and no word of its begin
    and end: the receiver, which shares the cores with the workers, took 9 s for all.
    """
    if not WORKER:
        return None
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if all(report.passed for report in reports):
        reports[1].duration = sum(report.duration for report in reports)
        reports = reports[1:2]
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """The default App and all it holds end with the test, and a teardown that hangs ends, or the run with it."""
    limit_teardown(item.config.stash[REAL_STDERR])
    with contextlib.ExitStack() as after:
        after.callback(faulthandler.cancel_dump_traceback_later)
        after.callback(end_shared_app)
        return (yield)


def limit_teardown(stderr: int) -> None:
    """What the alarm of pytest-timeout does not end, as it rings once a test, ends the run with the stacks of all threads.

    It has rung for a test that hung, and is put off for one that failed.
    """
    end_run_later = partial(faulthandler.dump_traceback_later, TEARDOWN_LIMIT_S, exit=True, file=stderr)
    if not signal.getitimer(signal.ITIMER_REAL)[0]:
        end_run_later()
        return
    ring: Any = signal.getsignal(signal.SIGALRM)

    def ring_last(number: int, frame: FrameType | None) -> None:
        end_run_later()
        ring(number, frame)

    signal.signal(signal.SIGALRM, ring_last)


def end_shared_app() -> None:
    """Where no App was imported there is none."""
    if "dspex.app.app" in sys.modules:
        importlib.import_module("dspex.testing").reset()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[pytest.CollectReport]:
    """Every second worker of pytest-xdist reads the folders backwards: it finds compiled what the others have compiled by
    then. Where all begin alike, each compiles all of a fresh checkout.
    """
    report = yield
    if isinstance(collector, pytest.Directory) and WORKER and int(WORKER.removeprefix("gw")) % 2:
        report.result.reverse()
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """However they read the folders, workers have the tests in one order."""
    if WORKER:
        items.sort(key=lambda item: item.path)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable(report: pytest.CollectReport | pytest.TestReport) -> Iterator[dict[str, Any] | None]:
    """What a worker of pytest-xdist sends of what passed goes without the words for `-k`: to read them took the receiver
    a third of its time.
    """
    data = yield
    if data is not None and report.passed:
        data["keywords"] = {}
    return data


def pytest_collection_finish() -> None:
    """Take all that exists now out of garbage collection, so that a full collection after each async test is cheap."""
    gc.collect()
    gc.freeze()


@pytest.fixture
async def watched_loop() -> AsyncIterator[None]:
    """The loop of one test, watched from before its other fixtures to after them."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    yield
    # One turn for tasks that were cancelled last, then let go of tasks whose exception only they still hold.
    await asyncio.sleep(0)
    gc.collect()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    shown = "\n".join(map(repr, left))
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert not left, f"left running:\n{shown}"
    assert not faults, "\n".join(str(fault.get("exception") or fault["message"]) for fault in faults)


# All that `dspex` offers, and its HTTP client; contracts ask for pytest.
WARM = """
import aiohttp, dspex.service.http, dspex.testing
for package in (dspex, dspex.testing):
    for name in package.__all__:
        name.endswith("Contract") or getattr(package, name)
"""


@pytest.fixture(scope="session")
def warm() -> Iterator[Any]:
    """Runs programs in processes that need not import dspex first."""
    from dspex.testing.forked_python import ForkedPython

    with contextlib.closing(ForkedPython()) as warm:
        warm.prepare(WARM)
        yield warm


@pytest.fixture
def in_time() -> Callable[[float, Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]:
    """Runs a coroutine that must end within a time by its loop's own timers: a busy machine holds up both alike."""

    async def in_time(seconds: float, work: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait([task], timeout=seconds)
            for _ in range(50):  # where both timers ring in one turn of the loop, the other may finish
                await asyncio.sleep(0)
            assert task.done(), f"it takes more than {seconds:g} s"
            return await task
        finally:
            task.cancel()

    return in_time
