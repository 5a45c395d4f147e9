"""`dspex doctor` says what is installed, what is broken and what to do."""

import os
import time
from pathlib import Path

import pytest
from click import Command

import dspex
from dspex.plugin import LMResponse, PluginError
from dspex.plugin.sources import Source
from dspex.testing import FaultServer


class Provider:
    """Answers 4 to everything."""

    def __init__(self, endpoint, http):
        pass

    async def complete(self, request):
        return LMResponse.from_text("4")


def one(name="acme", factory=Provider, **options):
    return lambda: [dspex.Spec(name, factory, **options)]


def exits():
    raise SystemExit(7)


def test_doctor_is_content_with_nothing(command, install):
    install()
    told = command("doctor")
    assert told.exit_code == 0
    assert 'none: pip install "dspex-cache"' in told.stdout
    assert "keys      none in the environment" in told.stdout
    assert "Nothing is broken." in told.stdout


def test_doctor_names_a_choice_of_plugins_that_none_is_called_by(command, plugin, install):
    install(plugin("acme", lm_providers=one()), environ={"DSPEX_PLUGINS": "acme,no:amce"})
    told = command("doctor")
    assert told.exit_code == 0
    assert "names 'amce', and no installed plugin is called so. Did you mean 'acme'?" in told.stdout
    assert "names 'acme'" not in told.stdout


def test_doctor_names_keys_and_never_shows_them(command, plugin, install, monkeypatch, tmp_path):
    install(plugin("a", lm_providers=one("my-acme")))
    (tmp_path / "key").write_text("canary-1234\n")
    monkeypatch.setenv("MY_ACME_API_KEY", "canary-1234")
    monkeypatch.setenv("MY_ACME_API_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("OPENAI_API_KEY", "canary 5678")
    told = command("doctor")
    assert told.exit_code == 1
    assert "MY_ACME_API_KEY for my-acme" in told.stdout
    assert "MY_ACME_API_KEY_FILE for my-acme" in told.stdout
    assert "OPENAI_API_KEY is empty or has white space" in told.stdout
    assert "canary" not in told.output


def test_doctor_names_a_key_whose_plugin_is_missing(command, install, monkeypatch):
    install()
    monkeypatch.setenv("OPENAI_API_KEY", "canary-5678")
    told = command("doctor")
    assert (
        'OPENAI_API_KEY for openai, whose plugin is not installed. Install it: pip install "dspex-openai".'
        in told.stdout
    )
    assert told.exit_code == 0


class Cache:
    """The default cache, as a plugin offers it."""

    def __init__(self, options, clock):
        self.path = "/somewhere/cache.sqlite"


def test_doctor_says_which_cache_is_used_and_where(command, plugin, install):
    install(plugin("a", caches=one("default", Cache)))
    assert "Cache in /somewhere/cache.sqlite" in command("doctor").stdout
    install(plugin("a", caches=one("default", exits)))
    assert command("doctor").exit_code == 1


def told_by_provider():
    raise PluginError("libgomp.so.1: cannot open shared object file")


class Talking(Provider):
    notice = "The model's licence is Gemma's."


class Lacking(Provider):
    notice = staticmethod(told_by_provider)


def test_doctor_shows_what_a_provider_has_to_say(command, plugin, install):
    install(plugin("a", lm_providers=one("acme", Talking)))
    told = command("doctor")
    assert "acme: The model's licence is Gemma's." in told.stdout
    assert told.exit_code == 0


@pytest.mark.parametrize("factory", [Lacking, "no_such_module:X"], ids=["notice raises", "no module"])
def test_doctor_finds_a_backend_that_cannot_be_used(command, plugin, install, factory):
    install(plugin("a", lm_providers=one("acme", factory)))
    told = command("doctor")
    assert told.exit_code == 1
    assert "PROBLEM: acme cannot be used." in told.stdout
    assert ("apt-get install libgomp1" in told.stdout) == (factory is Lacking)


def test_doctor_finds_a_folder_that_cannot_be_written(command, install, monkeypatch, tmp_path):
    install()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DSPEX_RUNS_DIR", str(tmp_path / "file" / "runs"))
    told = command("doctor")
    assert told.exit_code == 1
    assert "which cannot be written: change its rights, or set DSPEX_RUNS_DIR" in told.stdout
    assert not Path(os.environ["DSPEX_CACHE_DIR"]).exists()


def test_doctor_names_a_plugin_that_is_slow_to_import(command, plugin, install):
    install(plugin("a", load=lambda: time.sleep(0.12) or object()))
    told = command("doctor")
    assert "a (a-dist 1.2) is slow: 1" in told.stdout
    assert told.exit_code == 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("click>=999", "a-dist needs click>=999, and 8."),
        ("no-such-package-of-ours>=1", "a-dist needs no-such-package-of-ours>=1, and it is not installed"),
        ("click>=8", ""),
        ("click>=8; extra == 'test'", ""),
        ("nothing >= 999 ; python_version < '3'", ""),
    ],
)
def test_doctor_finds_a_package_that_is_older_than_a_plugin_needs(
    command, plugin, install, line, words, tmp_path, monkeypatch
):
    info = tmp_path / "a_dist-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: a-dist\nVersion: 1.2\nRequires-Dist: {line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    install(plugin("a", lm_providers=one()))
    told = command("doctor")
    assert words in told.stdout
    assert told.exit_code == bool(words)
    assert ("pip install -U" in told.stdout) == bool(words)


class Remote(Provider):
    """Has an address of its own."""

    base_url = ""


@pytest.mark.parametrize("status", [200, 401, 404, 500], ids=str)
def test_doctor_reaches_endpoints_on_request_and_sends_no_key(command, plugin, install, status, monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", "canary-1234")
    with FaultServer() as server:
        server.then(status, json={"error": {"message": "no"}}, times=None)
        provider = type("Here", (Remote,), {"base_url": server.url})
        install(plugin("a", lm_providers=one(factory=provider), embedders=one(factory=provider)))
        assert "endpoints" not in command("doctor").stdout
        assert not server.requests
        told = command("doctor", "--reach", "--url", f"{server.url}/own")
        assert f"endpoints acme at {server.url} answers" in told.stdout
        assert f"--url at {server.url}/own answers" in told.stdout
        assert told.exit_code == 0
        assert [seen.method for seen in server.requests] == ["GET", "GET"], "each address once"
        assert not [seen for seen in server.requests if "canary" in str(seen.headers)]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "ftp://127.0.0.1", "nonsense"])
def test_doctor_says_why_an_endpoint_cannot_be_reached(command, install, url):
    install()
    told = command("doctor", "--url", url)
    assert f"endpoints PROBLEM: --url at {url} cannot be reached. " in told.stdout
    assert told.exit_code == 1


def test_doctor_says_where_there_is_no_endpoint_to_reach(command, plugin, install):
    install(plugin("a", lm_providers=one()))
    assert "no installed provider has an address of its own" in command("doctor", "--reach").stdout


def test_doctor_looks_at_all_where_two_plugins_offer_the_cache(command, plugin, install):
    two = [plugin(name, caches=lambda: [dspex.Spec("default", object)]) for name in ("one", "two")]
    install(*two)
    told = command("doctor")
    assert told.exit_code == 1
    assert told.stdout.count("The cache 'default' is offered by 'one' (one-dist) and 'two' (two-dist)") == 2
    assert "folders" in told.stdout


def test_doctor_goes_on_where_a_look_fails(command, plugin, install, monkeypatch):
    def broken(name):
        raise ZeroDivisionError("metadata was replaced")

    install(plugin("vandal", load=lambda: monkeypatch.setattr("importlib.metadata.requires", broken) or object()))
    told = command("doctor")
    assert told.exit_code == 1
    assert "needs     PROBLEM: cannot be looked at. ZeroDivisionError: metadata was replaced" in told.stdout
    assert "folders" in told.stdout


def test_doctor_names_what_dspex_has_itself(command, plugin, install):
    optimizer = plugin("greedy", optimizers=lambda: [dspex.Spec("Predict", object)])
    install(optimizer, plugin("bossy", commands=lambda: [Command("doctor", help="Mine.")]))
    told = command("doctor").stdout
    assert "PROBLEM: 'Predict' of greedy (greedy-dist) cannot be had: dspex has its own of that name" in told
    assert "PROBLEM: 'doctor' of bossy (bossy-dist) cannot be had" in told


def test_doctor_says_what_to_do_of_a_package_without_a_name(command, install):
    def gone():
        raise ModuleNotFoundError("No module named 'gone'")

    install(Source("gone", gone, "", ""))
    told = command("doctor").stdout
    assert "take its .dist-info folder away" in told
    assert "pip install -U ," not in told
