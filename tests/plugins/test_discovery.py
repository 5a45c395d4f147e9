"""Whatever an installed plugin does, it is recorded and named, and the others work."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import dspex
from dspex.plugin import LMResponse
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source, installed

ROOT = Path(__file__).parents[2]


class Provider:
    """Answers with its model's name."""

    def __init__(self, endpoint, http):
        self.model = endpoint.model

    async def complete(self, request):
        return LMResponse.from_text(f"I am {self.model}")


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def one(name="acme", factory=Provider, **options):
    """A hook that declares one backend."""
    return lambda: [dspex.Spec(name, factory, **options)]


def raising(error):
    def fail():
        raise error

    return fail


async def coroutine():
    return []


def generator():
    yield dspex.Spec("acme", Provider)


def bad(fault, does, why):
    return pytest.param(does, why, id=fault)


BAD = [
    bad("G01-import-error", {"load": raising(ImportError("no module named x"))}, "no module named x"),
    bad("G01-SystemExit", {"load": raising(SystemExit(3))}, "SystemExit: 3"),
    bad("G01-KeyboardInterrupt", {"load": raising(KeyboardInterrupt())}, "KeyboardInterrupt"),
    bad("G01-unprintable", {"load": raising(Unprintable())}, "Unprintable"),
    bad("G02-newer-api", {"lm_providers": one(api=2)}, "wants plugin API 2; this dspex has 1"),
    bad("G02-api-of-text", {"lm_providers": one(api="2")}, "has api='2', which is no number"),
    bad("G02-unknown-hook", {"lm_provider": one()}, "unknown hook 'dspex_lm_provider'"),
    bad("G02-hook-arguments", {"lm_providers": lambda app: []}, r"Argument\(s\) {'app'}"),
    bad("G02-no-name", {"lm_providers": one(name="")}, "has no name"),
    bad("G02-no-factory", {"lm_providers": one(factory=7)}, "neither callable nor"),
    bad("G02-options", {"lm_providers": one(options=dict)}, "no Struct type"),
    bad("G02-twice", {"lm_providers": lambda: one()() * 2}, "is offered twice"),
    bad("G03-raises", {"lm_providers": raising(ValueError("bad hook"))}, "ValueError: bad hook"),
    bad("G03-SystemExit", {"lm_providers": raising(SystemExit())}, "SystemExit"),
    bad("G04-coroutine", {"lm_providers": coroutine}, "plain functions that return a list"),
    bad("G04-generator", {"lm_providers": generator}, "plain functions that return a list"),
    bad("G04-None", {"lm_providers": lambda: None}, "returned NoneType, not a list"),
    bad("G04-str", {"lm_providers": lambda: "acme"}, "returned str, not a list"),
    bad("G04-junk", {"lm_providers": lambda: [Provider]}, "is no dspex.Spec"),
    bad("G05-hangs", {"load": lambda: time.sleep(1)}, "did not load within 0.2 s"),
]


@pytest.mark.fault("G01")
@pytest.mark.fault("G02")
@pytest.mark.fault("G03")
@pytest.mark.fault("G04")
@pytest.mark.fault("G05")
@pytest.mark.parametrize(("does", "why"), BAD)
def test_a_bad_plugin_is_recorded_and_the_others_work(plugin, install, does, why):
    manager = install(plugin("bad", **does), plugin("good", lm_providers=one()))
    bad, good = manager.plugins
    assert (bad.status, bad.name, bad.distribution, bad.version) == ("broken", "bad", "bad-dist", "1.2")
    assert not bad.provides
    assert good.status == "ok"
    assert dspex.LM("acme/m")("hello") == ["I am m"]
    assert re.search(why, bad.error)
    with pytest.raises(dspex.ConfigurationError, match=r"Failed to load: bad \(") as caught:
        dspex.LM("other/m")("hello")
    assert len(str(caught.value)) < 1_000


@pytest.mark.fault("R26")
def test_many_bad_plugins_at_once_cost_little_and_harm_nobody(plugin, install):
    faults = [case.values[0] for case in BAD if not case.id.startswith("G05")]
    began = time.process_time()
    manager = install(
        *(plugin(f"bad{number}", **does) for number, does in enumerate(faults)), plugin("good", lm_providers=one())
    )
    assert dspex.LM("acme/m")("hello") == ["I am m"]
    assert time.process_time() - began < 0.1 + 0.1  # 100 ms, and the call itself
    assert [record.status for record in manager.plugins].count("broken") == len(faults) >= 8


@pytest.mark.fault("G03")
def test_one_bad_hook_makes_its_whole_plugin_broken(plugin, install):
    manager = install(plugin("bad", lm_providers=one(), caches=lambda: 3))
    assert manager.plugins[0].status == "broken"
    assert manager.names("lm_providers") == []


@pytest.mark.fault("G02")
def test_an_unknown_hook_is_told_with_its_module(install):
    module = ModuleType("acme_models")
    module.dspex_lm_providrs = dspex.hookimpl(one())
    manager = install(Source("acme", lambda: module, "acme-dist", "1"))
    assert manager.plugins[0].error.endswith("unknown hook 'dspex_lm_providrs' in plugin acme_models")


@pytest.mark.fault("G06")
def test_two_plugins_of_one_name_are_an_error_at_use_that_says_how_to_choose(plugin, install):
    install(plugin("a", lm_providers=one()), plugin("b", lm_providers=one()))
    with pytest.raises(dspex.ConfigurationError) as caught:
        dspex.LM("acme/m")("hello")
    assert "'a' (a-dist) and 'b' (b-dist)" in str(caught.value)
    assert "configure(prefer={'acme': 'a'})" in str(caught.value)
    assert "DSPEX_PREFER=acme=a" in str(caught.value)


@pytest.mark.fault("G06")
def test_two_plugins_that_are_called_the_same_are_told_apart_by_their_packages(install):
    two = [
        Source("acme", lambda made=made: made, name, "1")
        for name, made in (("first-dist", named(Provider)), ("second-dist", named(Second)))
    ]
    install(*two)
    with pytest.raises(dspex.ConfigurationError, match="DSPEX_PREFER=acme=first-dist"):
        dspex.LM("acme/m")("hello")
    dspex.configure(prefer={"acme": "second-dist"})
    assert dspex.LM("acme/m")("hello") == ["I am the second"]


def named(factory):
    """A plugin that offers this provider as acme."""
    return SimpleNamespace(dspex_lm_providers=dspex.hookimpl(one(factory=factory)))


class Second(Provider):
    async def complete(self, request):
        return LMResponse.from_text("I am the second")


@pytest.mark.fault("G06")
@pytest.mark.parametrize("way", ["setting", "variable", "distribution"])
def test_a_preference_chooses(plugin, install, way):
    environ = {"setting": {}, "variable": {"DSPEX_PREFER": "acme=b"}, "distribution": {"DSPEX_PREFER": "acme=b-dist"}}[
        way
    ]
    two = plugin("a", lm_providers=one()), plugin("b", lm_providers=one(factory=Second))
    install(*two, environ=environ)
    if way == "setting":
        dspex.configure(prefer={"acme": "b"})
    assert dspex.LM("acme/m")("hello") == ["I am the second"]


def test_a_preference_that_names_nobody_chooses_nothing(plugin, install):
    install(plugin("a", lm_providers=one()), plugin("b", lm_providers=one()), environ={"DSPEX_PREFER": "acme=c"})
    with pytest.raises(dspex.ConfigurationError, match="is offered by 'a'"):
        dspex.LM("acme/m")("hello")


@pytest.mark.parametrize(
    ("value", "loaded"),
    [("", "abc"), ("a,b", "ab"), ("no:a", "bc"), ("a,b,no:b", "a"), (" no:a , no:b ", "c"), ("nobody", "")],
)
def test_a_variable_limits_which_plugins_load(plugin, install, value, loaded):
    asked = []
    sources = [plugin(name, load=lambda name=name: asked.append(name) or object()) for name in "abc"]
    manager = install(*sources, environ={"DSPEX_PLUGINS": value})
    assert {record.name for record in manager.plugins if record.status == "ok"} == set(loaded)
    assert set(asked) == set(loaded)


def test_a_blocked_plugin_is_named_where_its_backend_is_missing(plugin, install):
    install(plugin("a", lm_providers=one()), blocked=["a"])
    with pytest.raises(dspex.ConfigurationError, match="Blocked by DSPEX_PLUGINS or -p: a"):
        dspex.LM("acme/m")("hello")


def test_a_backend_named_by_text_is_imported_at_its_first_use(plugin, install, tmp_path, monkeypatch):
    (tmp_path / "late_acme.py").write_text(
        "from dspex.plugin import LMResponse\n"
        "class Late:\n"
        "    def __init__(self, endpoint, http): pass\n"
        "    async def complete(self, request): return LMResponse.from_text('late')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    manager = install(plugin("a", lm_providers=one(factory="late_acme:Late")))
    lm = dspex.LM("acme/m")
    assert manager.names("lm_providers") == ["acme"]
    assert "late_acme" not in sys.modules
    assert lm("hello") == ["late"]


@pytest.mark.parametrize("factory", ["no_such_module:X", "json:NoSuchName", "json", "", "exits_at_import:X"])
def test_a_backend_that_cannot_be_imported_is_a_typed_error(plugin, install, factory, tmp_path, monkeypatch):
    (tmp_path / "exits_at_import.py").write_text("raise SystemExit(1)")
    monkeypatch.syspath_prepend(tmp_path)
    install(plugin("a", lm_providers=one(factory=factory)))
    with pytest.raises(dspex.PluginError, match="'acme' could not be loaded from"):
        dspex.LM("acme/m")("hello")


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=["ValueError", "SystemExit"])
def test_a_factory_that_raises_is_a_typed_error(plugin, install, error):
    def factory(endpoint, http):
        raise error

    install(plugin("a", lm_providers=one(factory=factory)))
    with pytest.raises(dspex.PluginError, match="'acme' could not be made"):
        dspex.LM("acme/m")("hello")


def test_a_provider_that_is_misspelt_is_guessed(plugin, install):
    install(plugin("a", lm_providers=one()))
    with pytest.raises(dspex.ConfigurationError, match="Did you mean 'acme'"):
        dspex.LM("acne/m")("hello")


def test_a_provider_that_is_misspelt_and_not_installed_is_guessed_too(install):
    install()
    with pytest.raises(dspex.ConfigurationError, match="Did you mean 'anthropic'") as caught:
        dspex.LM("antropic/m")("hello")
    assert "litellm" not in str(caught.value)


@pytest.mark.parametrize("handle", [dspex.LM, dspex.Embedder])
def test_a_provider_that_no_package_is_for_is_to_be_had_by_the_bridge(plugin, install, handle):
    install()
    told = r"LiteLLM reaches: dspex\.\w+\('litellm/cohere/x/y'\), after pip install \"dspex-litellm\"\."
    with pytest.raises(dspex.ConfigurationError, match=told):
        handle("cohere/x/y")("hello")
    hook = {"lm_providers" if handle is dspex.LM else "embedders": one("litellm")}
    install(plugin("litellm", **hook))
    with pytest.raises(dspex.ConfigurationError, match=r"LiteLLM reaches: dspex\.\w+\('litellm/cohere/x/y'\)\."):
        handle("cohere/x/y")("hello")


def test_a_kernel_without_plugins_says_which_package_to_install(install):
    install()
    with pytest.raises(dspex.ConfigurationError, match='pip install "dspex-openai"'):
        dspex.LM("openai/gpt-4o-mini")("hello")
    dspex.configure(cache="sqlite")
    with pytest.raises(dspex.ConfigurationError, match='pip install "dspex-cache"'):
        dspex.LM("x/y", provider=Provider)("hello")
    with pytest.raises(AttributeError, match='pip install "dspex-optimizers"'):
        _ = dspex.BootstrapFewShot


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "BootstrapFewShot",
            r'cannot import name \'BootstrapFewShot\' from \'dspex\': .*pip install "dspex-optimizers"',
        ),
        ("PythonInterpreter", "pip install dspex-monty or dspex-bwrap"),
        ("Predit", "dspex has no 'Predit'. Did you mean 'Predict'"),
        ("Nothing", "dspex has no 'Nothing'. No optimizer 'Nothing'"),
        ("no_such_name", "cannot import name 'no_such_name'"),
    ],
)
def test_an_import_of_what_is_not_there_says_what_to_do(install, name, says):
    install()
    with pytest.raises(ImportError, match=says):
        exec(f"from dspex import {name}")
    assert not hasattr(dspex, name)
    assert getattr(dspex, name, None) is None


@pytest.mark.parametrize("path", ["teleprompt", "teleprompt.mipro_optimizer_v2", "teleprompt.teleprompt_optuna"])
def test_an_import_of_a_missing_optimizer_says_what_to_install(path, install):
    install()
    with pytest.raises(ImportError, match=r"cannot import name 'MIPROv2': .*pip install .dspex-mipro"):
        exec(f"from dspex.{path} import MIPROv2")
    assert not hasattr(importlib.import_module(f"dspex.{path}"), "MIPROv2")


def test_all_optimizers_that_are_installed_come_with_a_star(plugin, install):
    install(plugin("a", optimizers=one("Climb", dspex.Optimizer)), plugin("b", optimizers=one("Walk", dspex.Optimizer)))
    found = {}
    exec("from dspex.teleprompt import *", found)
    assert found["Climb"] is found["Walk"] is found["Teleprompter"] is dspex.Optimizer
    assert "bootstrap_trace_data" in found


def test_a_package_inside_is_still_imported_by_from():
    for name in ("testing", "cli", "engine", "streaming"):
        code = f"from dspex import {name}; assert {name}.__name__ == 'dspex.{name}'"
        subprocess.run([sys.executable, "-c", code], check=True)


# Real distributions on the path


def distribution(folder: Path, name: str, points: str) -> Path:
    """A folder for sys.path with one installed distribution."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    return folder


def test_an_installed_distribution_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(distribution(tmp_path, "acme_x", "[dspex]\nacme = json\n"))
    [found] = [source for source in installed() if source.name == "acme"]
    assert (found.distribution, found.version) == ("acme_x", "1.0")
    assert found.load().__name__ == "json"


def test_what_is_installed_or_taken_away_since_the_last_look_is_seen(tmp_path, monkeypatch):
    def seen():
        found = {source.name for source in installed()} & {"acme", "other"}
        os.utime(tmp_path, (0, 0))  # a clock of files may be coarser than this test is slow
        return found

    monkeypatch.syspath_prepend(distribution(tmp_path, "acme_x", "[dspex]\nacme = json\n"))
    assert seen() == {"acme"}
    distribution(tmp_path, "acme_y", "[dspex]\nother = json\n")
    assert seen() == {"acme", "other"}
    shutil.rmtree(tmp_path / "acme_x-1.0.dist-info")
    assert seen() == {"other"}


def test_what_has_not_changed_is_not_read_again(monkeypatch):
    class Finder:
        asked = 0

        def find_spec(self, *_):
            return None

        def find_distributions(self, _context):
            self.asked += 1
            return ()

    finder = Finder()
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    assert [one.name for one in installed()] == [one.name for one in installed()]
    assert finder.asked == 1


@pytest.mark.fault("G06")
def test_a_distribution_that_is_installed_twice_counts_once(tmp_path, monkeypatch):
    for place in ("editable", "wheel"):
        monkeypatch.syspath_prepend(distribution(tmp_path / place, "acme_x", "[dspex]\nacme = json\n"))
    assert [source.name for source in installed()].count("acme") == 1


@pytest.mark.fault("G06")
def test_of_two_versions_of_a_distribution_the_first_on_the_path_counts(tmp_path, monkeypatch):
    for place, points in (("older", "[dspex]\nacme = json\ngone = json\n"), ("newer", "[dspex]\nacme = csv\n")):
        monkeypatch.syspath_prepend(distribution(tmp_path / place, "acme_x", points))
    assert [source.load().__name__ for source in installed() if source.distribution == "acme_x"] == ["csv"]


def test_what_is_installed_and_taken_away_meanwhile_is_seen(tmp_path, monkeypatch):
    def found():
        return {source.name for source in installed()} & {"acme", "late"}

    monkeypatch.syspath_prepend(distribution(tmp_path, "acme_x", "[dspex]\nacme = json\n"))
    os.utime(tmp_path, (1, 1))  # two changes of one moment could not be told apart
    assert found() == {"acme"}
    distribution(tmp_path, "late_x", "[dspex]\nlate = json\n")
    assert found() == {"acme", "late"}
    os.utime(tmp_path, (2, 2))
    assert found() == {"acme", "late"}
    shutil.rmtree(tmp_path / "acme_x-1.0.dist-info")
    assert found() == {"late"}


def test_entry_points_that_are_no_text_are_told_and_hide_no_other(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(distribution(tmp_path / "good", "acme_x", "[dspex]\nacme = json\n"))
    folder = distribution(tmp_path / "bad", "damaged", "")
    (folder / "damaged-1.0.dist-info" / "entry_points.txt").write_bytes(b"[dspex]\n\xff = json\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.warns(RuntimeWarning, match="entry points of damaged cannot be read"):
        assert "acme" in [source.name for source in installed()]


def test_only_the_plugins_section_of_entry_points_counts(tmp_path, monkeypatch):
    points = (
        "# ours\n[console_scripts]\ntool = json:tool\n\n[dspex]\n# one\nacme = json : dumps\n[dspex.more]\nno = json\n"
    )
    monkeypatch.syspath_prepend(distribution(tmp_path, "acme_x", points))
    [found] = [source for source in installed() if source.distribution == "acme_x"]
    assert (found.name, found.load()) == ("acme", json.dumps)


def test_damaged_metadata_of_one_distribution_hides_no_other(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(distribution(tmp_path / "good", "acme_x", "[dspex]\nacme = json\n"))
    monkeypatch.syspath_prepend(distribution(tmp_path / "bad", "damaged", "[dspex]\nthis is no entry\n"))
    with pytest.warns(RuntimeWarning, match="entry points of damaged cannot be read"):
        found = installed()
    assert "acme" in [source.name for source in found]


def test_damaged_metadata_without_a_name_hides_no_other_either(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(distribution(tmp_path / "good", "acme_x", "[dspex]\nacme = json\n"))
    folder = distribution(tmp_path / "bad", "damaged", "[dspex]\nthis is no entry\n")
    (folder / "damaged-1.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe")
    monkeypatch.syspath_prepend(folder)
    with pytest.warns(RuntimeWarning, match="entry points of a package without a name cannot be read"):
        found = installed()
    assert "acme" in [source.name for source in found]


def test_an_entry_point_that_names_no_module_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(distribution(tmp_path, "acme_x", "[dspex]\nacme = not a module!\n"))
    records = PluginManager(environ={"DSPEX_PLUGINS": "acme"}).plugins
    [acme] = [record for record in records if record.name == "acme"]
    assert "its entry point 'not a module!' is neither 'package.module' nor" in acme.error


def test_nothing_is_loaded_before_it_is_asked_for(plugin):
    asked = []
    manager = PluginManager(lambda: [plugin("a", load=lambda: asked.append(1))])
    dspex.App(plugins=manager)
    dspex.LM("acme/m")
    assert not asked


def test_metadata_that_is_no_text_hides_no_plugin(tmp_path, monkeypatch):
    folder = distribution(tmp_path, "acme_x", "[dspex]\nacme = json\n")
    (folder / "acme_x-1.0.dist-info" / "METADATA").write_bytes(b"Name: \xff\xfe\n")
    monkeypatch.syspath_prepend(folder)
    assert "acme" in [source.name for source in installed()]


def test_a_hundred_installed_plugins_cost_at_most_60_ms_and_none_is_imported_before_its_use():
    # Processor time, and the first of some runs that is in it: it is what the work takes, whatever else the machine does. A slower
    # machine has the time that Python alone takes there, for the entry points and the imports.
    spec = importlib.util.spec_from_file_location("bench_discovery", ROOT / "benchmarks" / "bench_discovery.py")
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    assert any(bench.is_within_limit(*run) for run in bench.runs(count=100, most=5))


@pytest.mark.fault("G05")
def test_a_plugin_that_asks_for_another_one_at_its_import_is_told_so_at_once(plugin, install):
    def load():
        return dspex.SomebodyElsesOptimizer

    manager = install(plugin("greedy", load=load), plugin("fine", lm_providers=lambda: [dspex.Spec("acme", object)]))
    greedy = next(record for record in manager.plugins if record.name == "greedy")
    assert "import what it needs from the other plugin's own package" in greedy.error
    assert greedy.seconds < 0.2
    assert manager.names("lm_providers") == ["acme"]


@pytest.mark.parametrize(("slip", "words"), [("Predcit", "Did you mean 'Predict'?"), ("MIPROv2", "dspex-mipro")])
def test_a_name_that_dspex_has_not_is_an_attribute_error_that_says_what_to_do(slip, words, monkeypatch):
    monkeypatch.setenv("DSPEX_PLUGINS", "none-of-them")
    with pytest.raises(AttributeError, match=f"asked for by dspex.{slip}") as caught:
        getattr(dspex, slip)
    assert words in str(caught.value)
