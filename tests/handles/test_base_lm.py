"""Programs that bring an LM class of their own."""

import asyncio
import threading
from types import SimpleNamespace

import pytest

import dspex
from dspex.plugin import LMResponse


class Echo(dspex.BaseLM):
    """Answers with a number of its own; `calls` holds what came."""

    answer = 4

    def __init__(self, model="mine", **options):
        super().__init__(model, **options)
        self.calls = []

    def forward(self, prompt=None, messages=None, **kwargs):
        self.calls.append((prompt, messages, kwargs))
        return [f"[[ ## answer ## ]]\n{self.answer}"]


def reply(text="4", **more):
    message = SimpleNamespace(content=text, tool_calls=None)
    choice = SimpleNamespace(message=message, finish_reason="stop")
    usage = SimpleNamespace(prompt_tokens=7, completion_tokens=2)
    return SimpleNamespace(**{"choices": [choice], "usage": usage, "model": "mine-1"} | more)


def giving(given, form="forward"):
    """An LM that gives this, sync or async."""

    def forward(self, prompt=None, messages=None, **kwargs):
        return given

    async def aforward(self, prompt=None, messages=None, **kwargs):
        await asyncio.sleep(0)
        return given

    return type("Giving", (dspex.BaseLM,), {form: {"forward": forward, "aforward": aforward}[form]})("mine")


def test_a_predict_calls_it():
    lm = Echo(temperature=0.5)
    dspex.configure(lm=lm)
    with dspex.track_usage() as usage, dspex.budget(calls=1) as budget:
        assert dspex.Predict("question -> answer: int", max_tokens=9)(question="2+2?").answer == 4
    [(prompt, messages, kwargs)] = lm.calls
    assert (prompt, kwargs) == (None, {"temperature": 0.5, "max_tokens": 9})
    assert [message["role"] for message in messages] == ["system", "user"]
    assert (usage.total.calls, budget.spent.calls) == (1, 1)
    assert lm.history[0]["outputs"] == ["[[ ## answer ## ]]\n4"]


@pytest.mark.parametrize("form", ["forward", "aforward"])
@pytest.mark.parametrize(
    "given",
    [
        "4",
        ["4"],
        LMResponse.from_text("4"),
        reply(),
        {"choices": [{"message": {"content": "4"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 2}},
        {"choices": [{"text": "4"}]},
    ],
    ids=["text", "list", "LMResponse", "object", "dictionary", "text completion"],
)
def test_a_reply_may_have_any_usual_form(given, form):
    assert giving(given, form)("2+2?") == ["4"]


def test_usage_and_finish_reason_are_those_of_the_reply():
    cut = reply()
    cut.choices[0].finish_reason = "length"
    with dspex.track_usage() as usage:
        lm = giving(cut)
        lm("2+2?")
    assert usage.get_total_tokens()["custom/mine"]["total_tokens"] == 9
    assert lm.history[0]["response"].choices[0].finish_reason == "length"


def test_tool_calls_come_out_as_of_any_model():
    call = {"id": "1", "function": {"name": "add", "arguments": {"a": 1}}}
    lm = giving({"choices": [{"message": {"content": None, "tool_calls": [call]}}]})
    [output] = lm("2+2?")
    assert output["tool_calls"] == [{"type": "tool_call", "id": "1", "name": "add", "arguments": '{"a":1}'}]


@pytest.mark.parametrize("given", [None, 4, SimpleNamespace()], ids=repr)
def test_another_reply_is_a_typed_error(given):
    with pytest.raises(dspex.ProtocolError, match=r"Giving\.forward gave a"):
        giving(given)("2+2?")


def test_a_class_without_forward_is_refused():
    with pytest.raises(dspex.ConfigurationError, match="neither `forward` nor `aforward`"):
        type("Empty", (dspex.BaseLM,), {})("mine")


def test_n_completions_are_n_calls():
    lm = Echo()
    assert len(lm("2+2?", n=3)) == 3
    assert len(lm.calls) == 3


def test_a_sync_forward_does_not_block_the_loop():
    gate = threading.Event()

    class Waits(dspex.BaseLM):
        def forward(self, prompt=None, messages=None, **kwargs):
            return "4" if gate.wait(10) else "never"

    async def main():
        task = asyncio.create_task(Waits("mine").acall("2+2?"))
        await asyncio.sleep(0)
        gate.set()
        return await task

    assert asyncio.run(main()) == ["4"]


class Cache:
    """A CacheBackend in memory."""

    def __init__(self):
        self.kept = {}

    async def get(self, key):
        return self.kept.get(key)

    async def set(self, key, value, ttl=None):
        self.kept[key] = value

    async def aclose(self):
        pass


@pytest.mark.parametrize(("key", "calls"), [(None, 2), ("v1", 1)])
def test_replies_are_cached_where_a_key_says_what_they_depend_on(key, calls):
    dspex.configure(cache=Cache())
    lm = Echo(cache_key=key)
    lm("2+2?")
    lm("2+2?")
    assert len(lm.calls) == calls
    other = Echo(cache_key="v2")
    other("2+2?")
    assert len(other.calls) == 1


def test_a_copy_calls_its_own_forward():
    one = Echo(temperature=0.5)
    two = one.copy(temperature=1.0)
    two.answer = 5
    assert (one("?"), two("?")) == (["[[ ## answer ## ]]\n4"], ["[[ ## answer ## ]]\n5"])


class OwnLM(dspex.LM):
    """As DSPy's programs write one too: below LM, and with a model's usual name."""

    def forward(self, prompt=None, messages=None, **kwargs):
        return reply(f"[[ ## answer ## ]]\n{len(messages)}, {kwargs['temperature']}")


class OwnAsyncLM(dspex.LM):
    async def aforward(self, prompt=None, messages=None, **kwargs):
        return reply(f"[[ ## answer ## ]]\n{len(messages)}, {kwargs['temperature']}")


@pytest.mark.parametrize("kind", [OwnLM, OwnAsyncLM])
@pytest.mark.parametrize("model", ["openai/gpt-4o", "mine"])
def test_a_forward_below_lm_is_what_is_called(kind, model):
    dspex.configure(cache=Cache())
    lm = kind(model, temperature=0.5)
    with dspex.track_usage() as usage:
        answers = [dspex.Predict("question -> answer")(question="?", lm=one).answer for one in (lm, lm, lm.copy())]
    assert answers == ["2, 0.5"] * 3
    assert usage.total.calls == 3  # nobody says what tells its replies apart, so none is kept


def test_a_forward_that_asks_for_lms_own_is_told_what_to_do():
    class Wrapping(dspex.LM):
        def forward(self, prompt=None, messages=None, **kwargs):
            return super().forward(messages=messages, **kwargs)

    with pytest.raises(dspex.ConfigurationError, match=r"Wrapping\.forward calls .* which has none: .* dspex\.LM"):
        Wrapping("openai/gpt-4o")("?")


def test_an_attribute_that_is_missing_elsewhere_is_told_as_what_it_is():
    with pytest.raises(dspex.PluginError, match="no_such"):
        type("Broken", (dspex.LM,), {"forward": lambda self, **given: self.no_such})("mine", num_retries=0)("?")
