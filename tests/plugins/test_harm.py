"""Whatever the code of a plugin does in a call, the program goes on, other plugins work, and it is named.

What plugins do at import and in hooks: test_discovery.py.
"""

import asyncio
import contextvars
import re
import sys
import threading
import time

import pluggy
import pytest

import dspex
from dspex.app.app import default_app
from dspex.plugin import LMResponse
from dspex.testing import LMInProcessContract


class Ended(BaseException):
    """What a library may raise to end a program, as SystemExit and pytest's own do."""


class Good:
    """A provider that answers."""

    def __init__(self, endpoint, http):
        pass

    async def complete(self, request):
        return LMResponse.from_text("fine")


def one(factory=Good, name="good"):
    return lambda: [dspex.Spec(name, factory)]


def raises(error):
    def fail(*arguments, **keywords):
        raise error

    return fail


def raises_async(error):
    async def fail(*arguments, **keywords):
        raise error

    return fail


def with_methods(**methods):
    """A factory of objects with these methods, called with anything."""
    made = type("Bad", (), {"__init__": lambda self, *arguments: None, **methods})
    made.complete = methods.get("complete", Good.complete)
    return made


ENDS = [SystemExit(3), Ended("over"), GeneratorExit(), ValueError("no"), StopIteration(1), RecursionError()]
each_end = pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)


@pytest.fixture
def calls(plugin, install):
    """Installs a bad plugin of these hooks beside a good one, and gives the App."""

    def calls(**hooks):
        install(plugin("bad", **hooks), plugin("good", lm_providers=one()))
        return default_app.get()

    return calls


def works():
    """Whether the other plugin answers."""
    return dspex.LM("good/m", cache=False)("hello") == ["fine"]


@pytest.mark.fault("G07")
@pytest.mark.fault("G11")
@each_end
def test_a_provider_that_ends_programs_ends_its_call_only(calls, error):
    calls(lm_providers=one(with_methods(complete=raises_async(error)), "bad"))
    with pytest.raises(dspex.PluginError, match=r"The provider 'bad' raised .* this is a fault of the plugin"):
        dspex.LM("bad/m", num_retries=0)("hello")
    assert works()


@pytest.mark.fault("G07")
@pytest.mark.fault("G11")
@each_end
async def test_its_neighbours_in_the_same_loop_go_on(calls, error):
    calls(lm_providers=one(with_methods(complete=raises_async(error)), "bad"))
    bad, *good = await asyncio.gather(
        dspex.LM("bad/m", num_retries=0).acall("hello"),
        *(dspex.LM("good/m", cache=False).acall(f"hello {number}") for number in range(5)),
        return_exceptions=True,
    )
    assert isinstance(bad, dspex.PluginError)
    assert good == [["fine"]] * 5


@pytest.mark.fault("G11")
@each_end
def test_a_stream_that_ends_programs_ends_itself_only(calls, error):
    if isinstance(error, GeneratorExit):
        return  # that is how a stream is closed from outside

    async def stream(self, request):
        yield dspex.plugin.LMDelta("begun")
        raise error

    calls(lm_providers=one(with_methods(stream=stream), "bad"))

    async def read():
        lm = dspex.LM("bad/m", num_retries=0)
        return [piece.text async for piece in lm.stream(lm.request((dspex.plugin.Message.of("user", "hello"),), {}))]

    with pytest.raises(dspex.PluginError, match="The provider 'bad' raised"):
        asyncio.run(read())
    assert works()


@pytest.mark.fault("G09")
@pytest.mark.fault("G11")
@each_end
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_middleware_that_ends_programs_is_named_with_what_to_do(calls, error, streamed):
    async def stream(self, request, call_next):
        raise error
        yield

    if isinstance(error, GeneratorExit):
        return  # that is how a coroutine is closed from outside
    bad = type("Bad", (), {"__call__": raises_async(error), "stream": stream})
    app = calls(middleware=one(bad, "bad"))

    async def read():
        lm = dspex.LM("x/m", provider=with_methods(stream=raises_async(None))(), cache=False)
        request = lm.request((dspex.plugin.Message.of("user", "hello"),), {})
        return [piece async for piece in lm.stream(request)] if streamed else await lm.complete(request)

    with pytest.raises(
        dspex.PluginError, match=r"The middleware Bad raised .* DSPEX_PLUGINS=no:NAME leaves a plugin out"
    ):
        asyncio.run(read())
    app.configure(middleware=[])
    assert works()


@pytest.mark.fault("G11")
@each_end
@pytest.mark.parametrize(
    ("kind", "use"),
    [
        ("lm_providers", lambda: dspex.LM("bad/m")("hello")),
        ("embedders", lambda: dspex.Embedder("bad/m")("hello")),
        ("retrievers", lambda: dspex.Retriever("bad")("hello")),
        ("adapters", lambda: dspex.Predict("a -> b")(a="x")),
        ("middleware", lambda: dspex.LM("good/m")("hello")),
        ("secret_sources", lambda: dspex.LM("good/m")("hello")),
        ("sandboxes", lambda: default_app.get().sandbox("bad", "the test")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_factory_that_ends_programs_is_a_typed_error(calls, kind, use, error, monkeypatch):
    monkeypatch.delenv("GOOD_API_KEY", raising=False)
    if isinstance(error, GeneratorExit):
        return  # as above
    calls(**{kind: one(raises(error), "bad")})
    adapter = "bad" if kind == "adapters" else None
    said = pytest.raises(dspex.PluginError, match=r"'bad' (could not be made|failed)")
    with dspex.context(lm=dspex.LM("good/m"), adapter=adapter), said:
        use()


@pytest.mark.fault("G11")
@each_end
def test_a_cache_that_ends_programs_costs_misses(calls, error):
    if isinstance(error, GeneratorExit):
        return  # as above
    methods = dict.fromkeys(("get", "set", "delete", "clear", "stats", "aclose"), raises_async(error))
    app = calls(caches=one(with_methods(**methods), "bad"))
    app.configure(cache="bad")
    with pytest.warns(RuntimeWarning, match=r"The cache Bad cannot read .* calls go on without it"):
        assert dspex.LM("good/m")("hello") == ["fine"]
    assert dspex.LM("good/m")("hello") == ["fine"]
    with pytest.warns(RuntimeWarning, match="A cache could not be closed"):
        app.close()


@pytest.mark.fault("G10")
@each_end
@pytest.mark.filterwarnings("ignore:Subscriber 'bad' (failed|hears nothing):RuntimeWarning")
def test_a_subscriber_that_ends_programs_hinders_no_call(calls, error):
    if isinstance(error, GeneratorExit):
        return  # as above
    app = calls(subscribers=one(type("Bad", (), {"on_event": raises(error)}), "bad"))
    assert works()
    assert works()
    app.close()


@pytest.mark.fault("G11")
@each_end
@pytest.mark.filterwarnings("ignore:good/m could not be closed:RuntimeWarning")
def test_a_start_or_an_end_that_ends_programs_is_told(calls, error):
    if isinstance(error, GeneratorExit):
        return  # as above
    app = calls(lm_providers=one(with_methods(start=raises_async(error)), "bad"))
    with pytest.raises(dspex.PluginError, match="The provider 'bad' could not start"):
        dspex.LM("bad/m", num_retries=0)("hello")
    assert works()
    app = calls(lm_providers=one(with_methods(aclose=raises_async(error)), "bad"))
    assert dspex.LM("bad/m")("hello") == ["fine"]
    assert works()
    with pytest.warns(RuntimeWarning, match="bad/m could not be closed"):
        app.close()


# Loops and tasks


@pytest.mark.fault("P16")
def test_a_provider_that_blocks_the_loop_is_named_with_its_place_and_what_to_do(calls):
    async def complete(self, request):
        time.sleep(0.3)  # noqa: ASYNC251  that is the fault
        return LMResponse.from_text("late")

    calls(lm_providers=one(with_methods(complete=complete), "bad"))
    dspex.configure(watchdog=0.05)
    assert works()
    with pytest.warns(
        RuntimeWarning, match=r"test_harm\.py:\d+\) holds an event loop .* make it async, or give it a thread"
    ):
        assert dspex.LM("bad/m")("hello") == ["late"]
    assert works()


class Leaky(Good):
    """Leaves a task behind in each call."""

    async def complete(self, request):
        self.task = asyncio.ensure_future(asyncio.sleep(1e6))
        return LMResponse.from_text("fine")


@pytest.mark.fault("G13")
def test_tasks_that_a_provider_leaves_end_with_the_app_and_hinder_nobody(calls):
    app = calls(lm_providers=one(Leaky, "bad"))
    lm = dspex.LM("bad/m", cache=False)
    assert [lm("hello") for _ in range(3)] == [["fine"]] * 3
    assert works()
    began, task = time.monotonic(), lm.service.provider.task
    app.close()
    assert task.cancelled()
    assert time.monotonic() - began < 3


@pytest.mark.fault("G13")
def test_the_kit_names_a_provider_that_leaves_tasks():
    class Kit(LMInProcessContract):
        forks = False

        def spec(self):
            return dspex.Spec("bad", Leaky)

    with pytest.raises(AssertionError, match="tasks go on"):
        Kit().test_its_app_lets_it_go_and_nothing_of_it_is_left()


@pytest.mark.fault("G13")
async def test_tasks_that_a_provider_leaves_on_a_users_loop_do_not_hold_the_app(calls):
    async with dspex.App(plugins=calls(lm_providers=one(Leaky, "bad")).plugins):
        lm = dspex.LM("bad/m", cache=False)
        assert await lm.acall("hello") == ["fine"]
        left = lm.service.provider.task
    assert not left.done()  # the loop is the user's, so it is the kit's to find
    left.cancel()


# What a plugin does to others


class Patched(Exception):
    pass


PATCHES = {
    "PluginManager": (pluggy, "PluginManager", raises(Patched("gone"))),
    "register": (pluggy.PluginManager, "register", raises(Patched("no"))),
    "hookcallers": (pluggy.PluginManager, "get_hookcallers", lambda self, plugin: []),
    "check_pending": (pluggy.PluginManager, "check_pending", raises(SystemExit(1))),
    "hookspecs": (dspex.plugin.hookspecs, "dspex_lm_providers", None),
}


@pytest.mark.fault("G12")
@pytest.mark.parametrize(("owner", "name", "value"), PATCHES.values(), ids=PATCHES)
def test_one_that_tampers_with_pluggy_harms_itself_and_is_named(plugin, install, monkeypatch, owner, name, value):
    before = getattr(owner, name)

    def load():
        monkeypatch.setattr(owner, name, value)
        return object()

    manager = install(plugin("bad", load=load), plugin("good", lm_providers=one()))
    assert works(), [record.error for record in manager.plugins]
    bad, good = manager.plugins
    assert good.status == "ok"
    assert bad.status == "broken"
    assert re.search(rf"changes .*{name}.* of another package", bad.error), bad.error
    assert getattr(owner, name) is before


class NoLoops(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        raise RuntimeError("no loop for anybody")


@pytest.mark.fault("G12")
def test_one_that_changes_how_loops_are_made_harms_itself_and_is_named(plugin, install):
    before = asyncio.get_event_loop_policy()
    bad = plugin("bad", load=lambda: asyncio.set_event_loop_policy(NoLoops()) or object())
    manager = install(bad, plugin("good", lm_providers=one()))
    assert works(), [record.error for record in manager.plugins]
    assert "changes asyncio.events._event_loop_policy" in manager.plugins[0].error
    assert asyncio.get_event_loop_policy() is before


def test_one_that_runs_a_loop_of_its_own_at_import_is_left_alone(plugin, install):
    async def nothing():
        pass

    manager = install(plugin("one", load=lambda: asyncio.run(nothing()) or object()))
    assert manager.plugins[0].status == "ok", manager.plugins[0].error


def test_what_a_plugin_sets_in_its_context_reaches_no_other(plugin, install):
    mood = contextvars.ContextVar("mood", default="calm")
    seen = []

    def load():
        seen.append(mood.get())
        mood.set("angry")
        return object()

    manager = install(plugin("bad", load=load), plugin("other", load=load), plugin("good", lm_providers=one()))
    assert [record.status for record in manager.plugins] == ["ok"] * 3
    assert seen == ["calm", "calm"]


def test_one_that_hangs_holds_up_none_that_come_after_it(plugin, install):
    go = threading.Event()
    hanging = [plugin(f"bad{number}", load=lambda: go.wait(5)) for number in range(2)]
    manager = install(hanging[0], plugin("good", lm_providers=one()), hanging[1], import_limit_s=0.1)
    assert [record.status for record in manager.plugins] == ["broken", "ok", "broken"]
    assert works()
    go.set()


def test_a_plugin_that_replaces_a_module_of_ours_reaches_what_is_made_already_not(calls):
    before = sys.modules["dspex.service.lm"]
    calls(load=lambda: sys.modules.__setitem__("dspex.service.lm", object()) or object())
    try:
        assert works()
    finally:
        sys.modules["dspex.service.lm"] = before


@pytest.mark.fault("G13")
def test_threads_that_a_plugin_leaves_do_not_hold_the_app(calls):
    go = threading.Event()

    async def complete(self, request):
        threading.Thread(target=go.wait, daemon=True).start()
        return LMResponse.from_text("fine")

    app = calls(lm_providers=one(with_methods(complete=complete), "bad"))
    assert dspex.LM("bad/m")("hello") == ["fine"]
    began = time.monotonic()
    app.close()
    assert time.monotonic() - began < 2
    go.set()
