"""A handle that a program changes after it was made, as DSPy's programs do, and what it says of its model."""

import pytest

import dspex
from dspex.plugin import LMResponse
from dspex.testing import DummyLM, dummy_rm


class Provider:
    """Keeps the requests that came; fails the first ones, if told to."""

    capabilities = dspex.Capabilities(tools=True, json_schema=True)

    def __init__(self, failures=0):
        self.requests, self.failures = [], failures

    async def complete(self, request):
        self.requests.append(request)
        if len(self.requests) <= self.failures:
            raise dspex.RateLimited("Too many.", retry_after=0.0)
        return LMResponse.from_text("4")


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def lm(provider):
    return dspex.LM("one/model", provider=provider, temperature=0.1)


def test_a_parameter_that_is_changed_in_place_holds_from_the_next_call_on(lm, provider):
    lm("?")
    lm.kwargs["temperature"] = 0.9
    lm("?")
    lm.kwargs = {"top_p": 0.5}
    lm("?")
    assert [request.params for request in provider.requests] == [
        {"temperature": 0.1},
        {"temperature": 0.9},
        {"top_p": 0.5},
    ]


def test_how_a_call_is_made_can_be_changed_too(lm, provider):
    provider.failures = 9
    lm.num_retries = 0
    with pytest.raises(dspex.RateLimited):
        lm("?")
    assert len(provider.requests) == 1


class Kept(dict):
    """A CacheBackend in memory."""

    async def get(self, key):
        return super().get(key)

    async def set(self, key, value, ttl=None):
        self[key] = value

    async def aclose(self):
        pass


async def test_a_handle_without_a_cache_from_now_on_asks_again(lm, provider):
    async with dspex.App(cache=Kept()):
        await lm.acall("?")
        await lm.acall("?")
        assert len(provider.requests) == 1
        lm.cache = False
        await lm.acall("?")
    assert len(provider.requests) == 2


def test_a_model_type_that_there_is_not_is_refused_when_the_handle_is_made():
    with pytest.raises(ValueError, match=r"model_type='chats'.*'chat', 'text', 'responses'"):
        dspex.LM("one/model", model_type="chats")


def test_a_handle_says_what_its_model_is_known_to_do(lm):
    assert (lm.supports_function_calling, lm.supports_response_schema, lm.supports_reasoning) == (True, True, False)


def test_a_pydantic_model_as_response_format_is_its_schema(lm, provider):
    pydantic = pytest.importorskip("pydantic")

    class Reply(pydantic.BaseModel):
        answer: int

    lm("?", response_format=Reply)
    lm.copy(response_format=Reply)("?")
    for request in provider.requests:
        assert request.schema["properties"]["answer"]["type"] == "integer"
        assert request.params == {"temperature": 0.1}


def test_the_history_names_the_model_that_answered():
    lm = DummyLM([{"answer": "a"}])
    lm("?")
    assert lm.history[-1]["response_model"] == lm.model


def test_a_dummy_retriever_finds_what_is_spelled_alike():
    with dspex.context(rm=dummy_rm(["Cats sleep all day.", "Trains run on rails."])):
        assert dspex.Retrieve(k=1)("A train on its rails").passages == ["Trains run on rails."]


def test_what_is_for_a_training_is_never_sent(provider):
    lm = dspex.LM("one/model", provider=provider, finetuning_model="tiny", train_kwargs={"epochs": 3}, engine="auto")
    lm.copy(train_kwargs={"epochs": 4}, use_developer_role=True, launch_kwargs={"gpus": 2})("?")
    assert provider.requests[0].params == {}
    assert (lm.finetuning_model, lm.train_kwargs) == ("tiny", {"epochs": 3})
    assert lm.copy(finetuning_model=None).finetuning_model is None


@pytest.mark.parametrize("name", ["engine", "async_engine", "prompt_cache"])
def test_what_of_dspy_s_has_no_meaning_here_is_refused_with_what_to_do(name):
    with pytest.raises(dspex.ConfigurationError, match=f"{name}=.*provider"):
        dspex.LM("one/model", **{name: {"a": 1}})
