"""`dspex plugins check` names each rule that an installed plugin breaks, and what to do."""

import time

import msgspec
import pytest
from click import Command, echo
from click.testing import CliRunner

import dspex
from dspex.cli.main import cli
from dspex.plugin import LMResponse


class Provider:
    """Answers 4 to everything."""

    def __init__(self, endpoint, http):
        pass

    async def complete(self, request):
        return LMResponse.from_text("4")


def one(factory=Provider, name="acme", **options):
    return lambda: [dspex.Spec(name, factory, **options)]


@pytest.fixture
def check(plugin, install):
    """Checks a plugin of these hooks, beside others."""

    def check(*others, load=None, asked="mine", **hooks):
        install(plugin("mine", load=load, **hooks), *others)
        return CliRunner().invoke(cli, ["plugins", "check", asked], prog_name="dspex")

    return check


def listener():
    return type("Listener", (), {"on_event": lambda self, event: None})()


async def through(request, call_next):
    return await call_next(request)


class Tagged(dspex.XMLAdapter):
    def __init__(self, options):
        super().__init__()


def greet():
    """Greet."""
    echo("hi")


@pytest.mark.parametrize("asked", ["mine", "mine-dist", "mine_dist", "MINE.dist"])
def test_a_plugin_is_found_by_its_name_or_its_packages(check, asked):
    told = check(lm_providers=one(), asked=asked)
    assert told.exit_code == 0, told.output
    assert "LM provider acme, for API 1" in told.output
    assert "subclass dspex.testing.LMProviderContract" in told.output
    assert "It keeps to what can be seen from outside." in told.output


def test_one_that_is_not_installed_is_named_with_those_that_are(check):
    told = check(lm_providers=one(), asked="mien")
    assert told.exit_code == 2
    assert "Did you mean 'mine'" in told.stderr
    assert "pip install -e ." in told.stderr


def test_a_package_that_is_no_plugin_is_told_as_such(check):
    told = check(asked="pluggy")
    assert "'pluggy' is installed, and has no entry point in the group `dspex`" in told.stderr


@pytest.mark.parametrize("is_editable", [True, False])
def test_a_package_that_is_worked_on_is_not_told_to_have_types(check, tmp_path, monkeypatch, is_editable):
    info = tmp_path / "mine_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-dist\nVersion: 1.0\nRequires-Dist: dspex>=0.1\n")
    (info / "RECORD").write_text("mine.py,,\n")
    # As uv writes it, without a space.
    (info / "direct_url.json").write_bytes(
        msgspec.json.encode({"url": "file:///x", "dir_info": {"editable": is_editable}})
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert ("no py.typed" in check(lm_providers=one()).output) is not is_editable


def sync_complete(self, request):
    return LMResponse.from_text("4")


async def made_later(endpoint, http):
    return Provider(endpoint, http)


PROBLEMS = {
    "broken": ({"load": lambda: 1 / 0}, "ZeroDivisionError"),
    "hangs": ({"load": lambda: time.sleep(1)}, "did not load within"),
    "newer API": ({"lm_providers": one(api=2)}, "this dspex has 1: update dspex"),
    "older API": ({"lm_providers": one(api=0)}, "this dspex has 1: update the plugin"),
    "nothing": ({}, "implement one of the hooks"),
    "no module": ({"lm_providers": one("no_such_module:X")}, "No module named 'no_such_module'"),
    "exits": ({"lm_providers": one("tests_exit_now:X")}, "could not be loaded"),
    "arguments": ({"lm_providers": one(lambda endpoint: None)}, r"is called as factory(endpoint, http)"),
    "keyword only": ({"caches": one(lambda *, options, clock: None)}, "is called as factory(options, clock)"),
    "async factory": ({"lm_providers": one(made_later)}, "called without await"),
    "no method": ({"lm_providers": one(type("P", (), {"__init__": Provider.__init__}))}, "has no `async def complete`"),
    "sync method": (
        {"lm_providers": one(type("P", (), {"__init__": Provider.__init__, "complete": sync_complete}))},
        "P.complete is awaited",
    ),
    "no optimizer": ({"optimizers": one(Provider, "Acme")}, "is no subclass of dspex.Optimizer"),
    "own name": ({"adapters": one(lambda options: None, "json")}, "'json' is dspex's own"),
    "own optimizer": ({"optimizers": one(dspex.Optimizer, "Predict")}, "'Predict' is dspex's own"),
    "own command": ({"commands": lambda: [Command("doctor", callback=greet, help="x")]}, "'doctor' is dspex's own"),
    "junk commands": ({"commands": lambda: [print]}, "no click command"),
    "kit": (
        {"subscribers": one(type("S", (), {"on_event": lambda self, e: e.provider}))},
        "takes every event",
    ),
}


@pytest.mark.parametrize(("hooks", "words"), PROBLEMS.values(), ids=PROBLEMS)
@pytest.mark.filterwarnings("ignore:Subscriber 'kit' failed:RuntimeWarning")
def test_what_is_wrong_is_named(check, hooks, words):
    told = check(**hooks)
    assert told.exit_code == 1, told.output
    assert words in told.output
    assert "PROBLEM: " in told.output
    assert told.output.rstrip().rpartition("\n")[2].startswith("Problems: ")


def test_a_name_of_another_plugin_is_told_and_no_fault(check, plugin):
    told = check(plugin("other", lm_providers=one()), lm_providers=one())
    assert told.exit_code == 0
    assert "acme: offered by 'other' (other-dist) too; users choose by `prefer`" in told.output


def test_a_factory_that_is_imported_with_the_plugin_is_told(check):
    assert "name it 'package.module:attribute'" in check(lm_providers=one()).output
    assert "name it" not in check(subscribers=one("dspex.testing.subscriber_contract:Counting")).output


@pytest.mark.parametrize(
    ("hooks", "kit"),
    [
        ({"middleware": one(lambda: through)}, "MiddlewareContract: 13 of 13"),
        ({"subscribers": one(listener)}, "SubscriberContract: 7 of 7"),
        ({"adapters": one(Tagged, "mine-xml")}, "AdapterContract: 14 of 14"),
    ],
    ids=["middleware", "subscriber", "adapter"],
)
def test_kits_that_need_no_data_are_run(check, hooks, kit):
    told = check(**hooks)
    assert kit in told.output


class Stuck:
    def on_event(self, event):
        time.sleep(3)


def test_a_test_of_a_kit_that_does_not_end_is_given_up(check, monkeypatch):
    monkeypatch.setattr("dspex.cli.check.KIT_LIMIT_S", 0.05)
    told = check(subscribers=one(Stuck))
    assert "it takes every event: did not end in 0.05 s" in told.output
    assert told.exit_code == 1


def test_a_slow_import_is_told(check):
    told = check(load=lambda: time.sleep(0.12) or msgspec)
    assert "advice: that is slow" in told.output


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dspex>=0.1,<2", "it has an upper bound for dspex"),
        ("dspex==0.1", 'dependencies = ["dspex>='),
        ("dspex-cache>=0.1", 'dependencies = ["dspex>='),
        ("dspex>=0.1", "no readme"),
    ],
)
def test_what_a_package_says_of_itself_is_looked_at(check, tmp_path, monkeypatch, line, words):
    info = tmp_path / "mine_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mine-dist\nVersion: 1.0\nRequires-Dist: {line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert words in check(lm_providers=one()).output
