"""Fixtures, options and hooks. pytest loads this module in every run, so nothing of dspex is imported before it is used."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_dspex import cassettes, contracts
from pytest_dspex.guard import Guard, told

if TYPE_CHECKING:
    from dspex import App
    from dspex.app.cassette import Cassette
    from dspex.testing import DummyLM, FaultServer

# What a kit compares is shown as in a test of one's own.
pytest.register_assert_rewrite("dspex.testing")

GUARD = pytest.StashKey[Guard]()
FAILED = pytest.StashKey[bool]()
CONTRACT, NETWORK = "dspex_contract", "dspex_network"


def pytest_addoption(parser: pytest.Parser) -> None:
    """--dspex-record, and the ini value dspex_network."""
    parser.getgroup("dspex").addoption(
        "--dspex-record",
        choices=("none", "once", "all"),
        default="none",
        help="cassettes: none plays them (the default), once records those that are not there, all records them anew",
    )
    parser.addini(
        "dspex_network", "block (the default): tests reach this host only; allow: they may go anywhere", default="block"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Marks, and the guard of the network."""
    config.addinivalue_line("markers", f"{NETWORK}: the test may reach other hosts")
    config.addinivalue_line("markers", f"{CONTRACT}: a test of a contract kit of dspex.testing; set by itself")
    wanted = config.getini("dspex_network")
    if wanted not in ("block", "allow"):
        raise pytest.UsageError(f"dspex_network = {wanted!r}: it is block or allow.")
    guard = config.stash[GUARD] = Guard()
    if wanted == "block":
        guard.install()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The guard goes."""
    guard = config.stash.get(GUARD, None)
    if guard is not None:
        guard.remove()


# The guard, a test


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A marked test may go out; and so may one that records a cassette."""
    guard = item.config.stash[GUARD]
    guard.is_open, guard.wanted[:] = _may_go_out(item), []
    try:
        return (yield)
    finally:
        guard.is_open = False


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that wanted out fails, also where its code swallowed the error."""
    found = yield
    wanted = item.config.stash[GUARD].wanted
    if wanted:
        pytest.fail(told(wanted), pytrace=False)
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a cassette know how its test ended."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def _may_go_out(item: pytest.Item) -> bool:
    if item.get_closest_marker(NETWORK) is not None:
        return True
    if "cassette" not in getattr(item, "fixturenames", ()):
        return False
    path = cassettes.place(item.path, item.nodeid)
    return cassettes.mode(item.config.getoption("--dspex-record"), path) == "record"


# Contract kits


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> Any:
    """Subclasses of kits are tests under any name; a kit that a module only imports is none."""
    if contracts.is_kit(obj):
        return []
    return contracts.collected(collector, name, obj) if contracts.uses_kit(obj) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """`-m dspex_contract` picks them, and `-m "not dspex_contract"` leaves them out."""
    if contracts.uses_kit(getattr(item, "cls", None)) or isinstance(item, contracts.Unfinished):
        item.add_marker(CONTRACT)


# Fixtures


@pytest.fixture
def dspex_app(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> "Iterator[App]":
    """An App of the test's own, the default one while the test runs: no settings of others, no cache, folders of its own."""
    from dspex.testing import own_app

    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path / "dspex-cache"))
    monkeypatch.setenv("DSPEX_RUNS_DIR", str(tmp_path / "dspex-runs"))
    with own_app(cache=False) as app:
        yield app


@pytest.fixture
def dummy_lm(
    dspex_app: "App",
) -> "Callable[[Iterable[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]]], DummyLM]":
    """Makes a model with scripted answers, and the App's own: `dummy_lm([{"answer": "4"}])`; keywords are DummyLM's."""
    from dspex.testing import DummyLM

    def dummy_lm(answers: Any, **keywords: Any) -> DummyLM:
        lm = DummyLM(answers, **keywords)
        dspex_app.configure(lm=lm)
        return lm

    return dummy_lm


@pytest.fixture
def fault_server() -> "Iterator[FaultServer]":
    """A server on the loopback that answers by a script, and fails as told."""
    from dspex.testing import FaultServer

    with FaultServer() as server:
        yield server


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> "Iterator[Cassette]":
    """Plays what the test asks of models from a file beside it, or records that: see --dspex-record.

    A recording whose test fails is thrown away where there was none before.
    """
    import dspex

    request.getfixturevalue("dspex_app")  # what the App has cached would not be in the file
    path = cassettes.place(request.path, request.node.nodeid)
    mode = cassettes.mode(request.config.getoption("--dspex-record"), path)
    is_new = not path.exists()
    if mode == "replay" and is_new:
        pytest.fail(f"There is no cassette {path}. Record it once, --dspex-record=once, and commit it.", pytrace=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with dspex.cassette(path, mode=mode) as tape:
        yield tape
    if mode == "record" and is_new and request.node.stash.get(FAILED, False):
        path.unlink(missing_ok=True)
