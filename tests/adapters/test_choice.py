"""Which adapter a call uses: set by object or name, offered by a plugin, or what fits the model; and it says why."""

from typing import Any

import pytest

import dspex
from dspex.plugin import Capabilities, Spec, hookimpl
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.testing import DummyLM


class Model:
    def __init__(self, **capabilities: Any) -> None:
        self.capabilities = Capabilities(**capabilities)

    async def complete(self, request: Any) -> Any:
        raise AssertionError("nobody is to be asked")


def chosen(signature: str = "question -> answer", adapter: Any = None, **capabilities: Any) -> Any:
    lm = dspex.LM("acme/one", provider=Model(**capabilities))
    with dspex.context(adapter=adapter):
        return dspex.Predict(signature).adapter_choice(lm)


@pytest.mark.parametrize(
    ("adapter", "capabilities", "name", "why"),
    [
        (None, {"chat": True}, "chat", "the default for an LM that takes turns"),
        (None, {}, "chat", "whether the LM takes turns is not known"),
        (None, {"chat": False}, "plain", "takes no turns"),
        ("chat", {"chat": False}, "chat", "the adapter was set"),
        ("xml", {"chat": True}, "xml", "the adapter was set"),
        ("plain", {"chat": True}, "plain", "the adapter was set"),
        ("json", {"json_schema": True}, "json", "held to a JSON schema by the LM"),
        ("json", {"json_schema": False}, "json", "the LM cannot hold a reply to a JSON schema"),
        ("json", {}, "json", "not known to hold"),
        (dspex.XMLAdapter(), {}, "xml", "the adapter was set"),
    ],
)
def test_a_choice_says_what_and_why(adapter, capabilities, name, why):
    choice = chosen(adapter=adapter, **capabilities)
    assert choice.adapter.name == name
    assert why in choice.reason
    assert (choice.schema is not None) == ("held to" in choice.reason)


def test_an_open_type_is_named_as_the_reason():
    choice = chosen("question -> facts: dict[str, int]", "json", json_schema=True)
    assert choice.schema is None
    assert "the type of `facts`, dict[str, int], has keys that the signature does not name" in choice.reason


def test_the_form_that_the_call_asks_for_is_named_as_the_reason():
    lm = dspex.LM("acme/one", provider=Model(json_schema=True), response_format={"type": "json_object"})
    with dspex.context(adapter="json"):
        assert "response_format=" in dspex.Predict("a -> b").adapter_choice(lm).reason


def test_the_choice_is_that_of_the_predictors_or_the_settings_lm():
    predict = dspex.Predict("question -> answer")
    with pytest.raises(dspex.ConfigurationError, match="No LM is loaded"):
        predict.adapter_choice()
    with dspex.context(lm=dspex.LM("acme/one", provider=Model(chat=False))):
        assert predict.adapter_choice().adapter.name == "plain"
        predict.lm = DummyLM([])
        assert predict.adapter_choice().adapter.name == "chat"


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ("jsom", "No adapter 'jsom'.* Did you mean 'json'"),
        ("two_step", r"TwoStepAdapter\(extraction_model\)"),
        (dspex.XMLAdapter, r"is a class: give an object, XMLAdapter\(\.\.\.\)"),
        (object(), "has no `render`: make it a subclass of dspex.Adapter"),
    ],
)
def test_what_is_no_adapter_is_an_error_that_says_what_to_do(adapter, words):
    with pytest.raises(dspex.ConfigurationError, match=words):
        chosen(adapter=adapter, chat=True)


class Shout(dspex.ChatAdapter):
    name = "shout"
    made = 0

    def format_task_description(self, signature: Any) -> str:
        return super().format_task_description(signature).upper()


class Offers:
    @hookimpl
    def dspex_adapters(self) -> list[Spec]:
        def make(options: Any) -> Shout:
            Shout.made += 1
            return Shout()

        return [Spec("shout", make)]


async def test_a_plugins_adapter_goes_by_its_name_and_is_made_once():
    async with dspex.App(plugins=PluginManager(lambda: [Source("offers", Offers)])):
        lm = DummyLM([{"answer": "yes"}] * 2)
        with dspex.context(lm=lm, adapter="shout"):
            predict = dspex.Predict("question -> answer")
            for _ in range(2):
                assert (await predict.acall(question="?")).answer == "yes"
        assert "YOUR TASK" in lm.history[0]["messages"][0]["content"]
    assert Shout.made == 1
