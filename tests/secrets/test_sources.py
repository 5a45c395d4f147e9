"""Where a key comes from when none is given: environment, key file, a plugin's vault; and who gets to see its name."""

import asyncio
import threading

import pytest

import dspex
from dspex.app.app import default_app
from dspex.app.keys import vault_key
from dspex.plugin import LMResponse
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.testing import simulate

CANARY = "sk-canary-4711"


class Provider:
    """Answers with the key that it was given."""

    def __init__(self, endpoint, http):
        self.key = endpoint.api_key

    async def complete(self, request):
        return LMResponse.from_text(self.key.reveal() if self.key else "no key")


class Vault:
    """A secret source that notes what it is asked for."""

    def __init__(self, **keys):
        self.keys, self.asked = keys, []

    async def get(self, name):
        self.asked.append(name)
        return self.keys.get(name)


class Broken:
    async def get(self, name):
        raise OSError(f"the token {CANARY} is too old")


@pytest.fixture
def app():
    """Makes an App with two providers and these secret sources, by name, the default one."""

    def app(**sources):
        class Module:
            dspex_lm_providers = staticmethod(
                dspex.hookimpl(lambda: [dspex.Spec("acme", Provider), dspex.Spec("big-corp", Provider)])
            )
            dspex_secret_sources = staticmethod(
                dspex.hookimpl(lambda: [dspex.Spec(name, lambda one=one: one) for name, one in sources.items()])
            )

        made = dspex.App(plugins=PluginManager(lambda: [Source("a", Module)], environ={}))
        default_app.replace(made)
        return made

    return app


@pytest.fixture(autouse=True)
def no_keys_from_outside(monkeypatch):
    for name in ("ACME_API_KEY", "ACME_API_KEY_FILE", "BIG_CORP_API_KEY", "BIG_CORP_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


def said(name="acme", **more):
    return dspex.LM(f"{name}/m", cache=False, **more)("?")[0]


@pytest.mark.fault("X03")
def test_a_key_is_read_from_the_file_that_the_environment_names(app, monkeypatch, tmp_path):
    app()
    (tmp_path / "key").write_text(f"  {CANARY}\n\n")
    monkeypatch.setenv("ACME_API_KEY_FILE", str(tmp_path / "key"))
    lm = dspex.LM("acme/m")
    assert lm("?") == [CANARY]
    assert lm.service.endpoint.api_key.source == f"the file {tmp_path / 'key'}, named by ACME_API_KEY_FILE"


@pytest.mark.fault("X03")
@pytest.mark.parametrize(
    ("content", "why"),
    [(f"{CANARY}\n{CANARY}\n".encode(), "white space or control"), (b"", "is empty"), (b"\xff\xfe", "cannot be read")],
    ids=["two lines", "empty", "no text"],
)
def test_a_file_that_holds_no_key_is_named_without_its_content(app, monkeypatch, tmp_path, content, why):
    app()
    (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("ACME_API_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(dspex.ConfigurationError, match=why) as caught:
        said()
    assert str(tmp_path / "key") in str(caught.value)
    assert CANARY not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_missing_file_is_an_error_and_not_a_call_without_a_key(app, monkeypatch, tmp_path):
    app()
    monkeypatch.setenv("ACME_API_KEY_FILE", str(tmp_path / "nothing"))
    with pytest.raises(dspex.ConfigurationError, match="ACME_API_KEY_FILE, cannot be read: FileNotFoundError"):
        said()


def test_the_nearest_source_wins(app, monkeypatch, tmp_path):
    vault = Vault(ACME_API_KEY="from-the-vault")
    app(vault=vault)
    (tmp_path / "key").write_text("from-the-file")
    seen = [said()]
    monkeypatch.setenv("ACME_API_KEY_FILE", str(tmp_path / "key"))
    seen.append(said())
    monkeypatch.setenv("ACME_API_KEY", "from-the-environment")
    seen += [said(), said(api_key="given")]
    assert seen == ["from-the-vault", "from-the-file", "from-the-environment", "given"]
    assert vault.asked == ["ACME_API_KEY"]


def test_an_empty_key_says_that_there_is_none(app, monkeypatch):
    vault = Vault(ACME_API_KEY=CANARY)
    app(vault=vault)
    monkeypatch.setenv("ACME_API_KEY", CANARY)
    keyless = dspex.LM("acme/m", api_key="", cache=False)
    assert [keyless("?")[0], keyless.copy(temperature=0.5)("?")[0], keyless.copy(api_key="given")("?")[0]] == [
        "no key",
        "no key",
        "given",
    ]
    assert said() == CANARY
    assert vault.asked == []


@pytest.mark.fault("X16")
def test_subscribers_hear_of_the_first_name_that_is_asked_for():
    heard, told = [], threading.Event()

    class Subscriber:
        def on_event(self, event):
            heard.append(event)
            told.set()

    class Module:
        dspex_lm_providers = staticmethod(dspex.hookimpl(lambda: [dspex.Spec("acme", Provider)]))
        dspex_secret_sources = staticmethod(dspex.hookimpl(lambda: [dspex.Spec("vault", Vault)]))
        dspex_subscribers = staticmethod(dspex.hookimpl(lambda: [dspex.Spec("ears", Subscriber)]))

    default_app.replace(dspex.App(plugins=PluginManager(lambda: [Source("a", Module)], environ={})))
    said()
    assert told.wait(5)
    assert (heard[0].name, heard[0].source, heard[0].found) == ("ACME_API_KEY", "vault", False)


@pytest.mark.fault("X16")
def test_a_source_is_asked_once_and_only_for_the_providers_in_use(app):
    vault, heard = Vault(ACME_API_KEY=CANARY, OPENAI_API_KEY="not-yours"), []
    one = app(vault=vault)
    one.bus.subscribe(heard.append, "test")
    assert [said(), said(temperature=1.0), said()] == [CANARY] * 3
    assert vault.asked == ["ACME_API_KEY"]
    assert said("big-corp") == "no key"
    assert vault.asked == ["ACME_API_KEY", "BIG_CORP_API_KEY"]
    one.close()
    asked = [(event.name, event.source, event.found) for event in heard if hasattr(event, "found")]
    assert asked == [("ACME_API_KEY", "vault", True), ("BIG_CORP_API_KEY", "vault", False)]
    assert CANARY not in repr(heard)


def test_sources_are_asked_in_order_of_their_names_until_one_has_it(app):
    first, second, third = Vault(), Vault(ACME_API_KEY="b"), Vault(ACME_API_KEY="c")
    app(c=third, b=second, a=first)
    assert said() == "b"
    assert (first.asked, third.asked) == (["ACME_API_KEY"], [])


def test_a_source_that_fails_is_named_without_what_it_says(app):
    app(vault=Broken())
    with pytest.raises(dspex.PluginError, match="secret source 'vault' failed: OSError") as caught:
        said()
    assert CANARY not in str(caught.value)


def test_a_source_is_asked_from_within_a_loop_too(app):
    app(vault=Vault(ACME_API_KEY=CANARY))
    assert asyncio.run(dspex.LM("acme/m").acall("?")) == [CANARY]


def test_a_source_that_does_not_answer_is_told_with_what_to_do():
    class Silent:
        async def get(self, name):
            await asyncio.Event().wait()

    async def main():
        return await vault_key([dspex.Spec("vault", Silent)], "ACME_API_KEY", lambda source, found: None)

    with pytest.raises(dspex.PluginError, match=r"'vault' failed: no answer within 10 s.*DSPEX_PLUGINS=no:NAME"):
        simulate(main)
