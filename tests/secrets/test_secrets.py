"""A key goes to its endpoint and nowhere else."""

import asyncio
import copy
import json
import logging
import pickle
import traceback

import msgspec
import pytest

import dspex
from dspex.app.app import default_app
from dspex.core.secret import Headers
from dspex.plugin import LMResponse, Secret
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source

CANARY = "sk-canary-4711"


class Provider:
    """Answers with whether it was given the key; a model that is named so raises with the key in its text."""

    def __init__(self, endpoint, http):
        self.endpoint = endpoint

    async def complete(self, request):
        key = self.endpoint.api_key.reveal()
        if self.endpoint.model == "typed":
            raise dspex.AuthError(f"The key {key} is wrong.", retryable=False)
        if self.endpoint.model == "foreign":
            raise ValueError(f"Authorization: Bearer {key}")
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{key == CANARY}")


class Module:
    dspex_lm_providers = staticmethod(dspex.hookimpl(lambda: [dspex.Spec("acme", Provider)]))


@pytest.fixture
def lm():
    """An LM with the key; by its model's name."""
    default_app.replace(dspex.App(plugins=PluginManager(lambda: [Source("a", Module)], environ={})))
    return lambda name: dspex.LM(f"acme/{name}", api_key=f" {CANARY}\n", retry=dspex.RetryPolicy(base=0.0))


@pytest.mark.fault("X01")
@pytest.mark.fault("X02")
def test_the_key_reaches_the_provider_and_no_record(lm, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    one = dspex.LM("acme/fine", api_key=f" {CANARY}\n", headers={"authorization": f"Bearer {CANARY}"})
    program = dspex.Predict("question -> answer")
    program.lm = one
    with dspex.context(trace=[]):
        assert program(question="2+2?").answer == "True"
        trace = dspex.settings.trace
    program.save(tmp_path / "p.json")
    seen = [
        repr(one),
        repr(vars(one)),
        repr(one.history),
        str(one.dump_state()),
        repr(one.identity),
        repr(one.service.endpoint),
        repr(vars(one.service)),
        str(default_app.get().tree()),
        repr(program),
        repr(trace),
        repr(dspex.settings),
        (tmp_path / "p.json").read_text(),
        caplog.text,
        repr(program.deepcopy().lm),
    ]
    assert [text for text in seen if CANARY in text] == []


@pytest.mark.fault("S14")
@pytest.mark.fault("X01")
@pytest.mark.parametrize(("name", "kind"), [("typed", dspex.AuthError), ("foreign", dspex.PluginError)])
def test_a_key_in_an_error_of_the_provider_is_not_shown(lm, name, kind):
    with pytest.raises(kind, match=r"\*\*\*") as caught:
        lm(name)("2+2?")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.fault("X02")
@pytest.mark.parametrize(
    "encode",
    [pickle.dumps, msgspec.json.encode, msgspec.msgpack.encode, json.dumps, lambda key: pickle.dumps({"key": key})],
    ids=["pickle", "msgspec JSON", "MessagePack", "json", "pickle within"],
)
def test_a_secret_cannot_be_encoded(encode):
    with pytest.raises(TypeError):
        encode(Secret(CANARY))


@pytest.mark.fault("X02")
@pytest.mark.parametrize("encode", [pickle.dumps, msgspec.json.encode, json.dumps], ids=["pickle", "msgspec", "json"])
def test_headers_show_their_names_and_cannot_be_encoded(encode):
    headers = Headers({"authorization": f"Bearer {CANARY}"})
    assert repr(headers) == f"{headers}" == "Headers(authorization=***)"
    assert dict(copy.deepcopy(headers)) == {"authorization": f"Bearer {CANARY}"}
    with pytest.raises(TypeError):
        encode(headers)


class Answers:
    """Has neither lock nor key, so it goes with an LM."""

    capabilities = dspex.Capabilities(chat=True)

    async def complete(self, request):
        return LMResponse.from_text("[[ ## b ## ]]\nx")


def test_an_lm_is_pickled_where_it_has_no_key_of_its_own():
    lm = dspex.LM("x/y", temperature=0.5, provider=Answers())
    assert dspex.Predict("a -> b")(a="?", lm=lm).b == "x"  # in use: bound, and with a history
    twin = pickle.loads(pickle.dumps(lm))
    assert (twin.model, twin.kwargs, twin.history) == (lm.model, lm.kwargs, [])
    assert dspex.Predict("a -> b")(a="?", lm=twin).b == "x"
    for kept in ({"api_key": CANARY}, {"headers": {"x-token": CANARY}}):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(dspex.LM("x/y", **kept))


def test_a_secret_shows_as_stars_and_survives_a_copy():
    secret = Secret(CANARY)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}", repr({"key": secret})]
    assert [text for text in shown if "***" not in text or CANARY in text] == []
    assert copy.deepcopy(secret).reveal() == CANARY


def test_a_letter_in_place_of_a_key_spoils_no_message():
    assert Secret("x").redact("What comes next?") == "What comes next?"
    assert Secret("none").redact("the key none") == "the key ***"


@pytest.mark.fault("X03")
@pytest.mark.parametrize(
    ("text", "kept"), [("k\n", "k"), ("  k\t", "k"), ("a b", None), ("a\nb", None), (" ", None), ("\n", None)]
)
def test_white_space_around_a_key_is_stripped_and_within_refused(text, kept):
    if kept is not None:
        assert Secret(text).reveal() == kept
        return
    with pytest.raises(dspex.ConfigurationError, match="white space or control characters") as caught:
        dspex.LM("acme/m", api_key=text)
    assert "a b" not in str(caught.value)


@pytest.mark.fault("S10")
def test_a_key_from_the_environment_is_known_by_its_variable(lm, monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", CANARY)
    one = dspex.LM("acme/fine")
    assert asyncio.run(one.acall("2+2?")) == ["[[ ## answer ## ]]\nTrue"]
    assert one.service.endpoint.api_key.source == "the environment variable ACME_API_KEY"
    assert CANARY not in repr(vars(one))


@pytest.mark.fault("X06")
def test_a_saved_model_gets_no_endpoint_from_its_file():
    one = dspex.LM.load_state({"model": "acme/m", "api_base": "http://evil", "base_url": "http://evil", "api_key": "x"})
    assert (one._connection.base_url, one._connection.api_key) == (None, None)
