"""What LiteLLM's errors become, beyond the kit."""

import socket

import pytest

import dspex
from dspex.plugin import Endpoint, RateLimited, Secret
from dspex_litellm.failures import translated

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # LiteLLM's own

ANSWER = (
    '{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": '
    '"assistant", "content": "Hi."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
)

NAMES = {"401": dspex.AuthError, "429": RateLimited, "503": dspex.Unavailable, "400": dspex.BadRequest}


@pytest.mark.parametrize("fault", NAMES)
async def test_a_status_is_told_by_its_class_and_nothing_is_printed(server, lm, ask, fault, capsys):
    server.then_fault(fault, ANSWER)
    with pytest.raises(NAMES[fault]) as caught:
        await ask(lm())
    assert caught.value.status == int(fault)
    assert capsys.readouterr() == ("", "")


async def test_a_limit_says_when_to_come_back(server, lm, ask):
    server.then(429, json={"error": {"message": "slow"}}, headers={"Retry-After": "0.7"})
    with pytest.raises(RateLimited) as caught:
        await ask(lm())
    assert caught.value.retry_after == 0.7


def test_an_exception_that_is_not_litellms_stays_what_it_is():
    fault = KeyError("x")
    assert translated(fault, Endpoint("litellm", "m")) is fault


def test_a_special_exception_goes_before_its_kin(litellm):
    error = litellm.exceptions.ContextWindowExceededError("too long sk-canary-1", "m", "openai")
    made = translated(error, Endpoint("litellm", "m", None, Secret("sk-canary-1")))
    assert isinstance(made, dspex.ContextWindowExceeded)
    assert "canary" not in str(made)


async def test_no_file_is_fetched_to_count_the_tokens_of_a_stream(server, lm, stream, monkeypatch):
    """LiteLLM would ask Hugging Face for a tokenizer, again and again, and hold up its loop meanwhile."""
    asked, known = [], socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **how: asked.append(host) or known(host, *more, **how)
    )
    server.then_events([{"choices": [{"index": 0, "delta": {"content": "Hi."}, "finish_reason": "stop"}]}])
    assert "".join([piece.text async for piece in stream(lm("groq/llama-3"))]) == "Hi."
    assert not [host for host in asked if "huggingface" in str(host)]


@pytest.mark.parametrize("model", ["mistral/mistral-small-latest", "cohere_chat/command-r"])
@pytest.mark.parametrize("fault", ["redirect", "endless body", "announced too large"])
async def test_a_service_that_litellm_calls_by_its_own_client_is_bounded_too(server, lm, ask, model, fault):
    server.then_fault(fault, ANSWER)
    with pytest.raises(dspex.ProtocolError, match="not read") as caught:
        await ask(lm(model, api_base=server.url))
    assert caught.value.retryable is False
    assert len(server.requests) == 1
