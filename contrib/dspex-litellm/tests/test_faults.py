"""The faults of the fault server, under LiteLLM: an error of ours, in time, without the key, and the next call is a good one."""

import pytest

import dspex
from dspex.plugin import Endpoint, LMError, LMTimeout, RateLimited, Secret
from dspex.testing import FAULTS
from dspex_litellm.failures import translated

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # LiteLLM's own

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ANSWER = (
    '{"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": '
    '"assistant", "content": "Hi."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'
)
EVENTS = "".join(
    'data: {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": '
    f"{delta}}}]}}\n\n"
    for delta in ('{"content": "H"}', '{"content": "i"}', '{"content": "."}', '{}, "finish_reason": "stop"')
) + "data: [DONE]\n\n"  # fmt: skip

# What LiteLLM's client bears, or reads otherwise than the kernel's: an answer comes, or another of our errors.
OTHERWISE = {
    "announced too large", "huge header", "endless body", "gzip bomb", "endless error", "nested arrays", "NaN",
    "line without end", "event without end",
}  # fmt: skip
KEY = "sk-canary-0123456789"


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - OTHERWISE))
async def test_a_fault_ends_as_one_of_our_errors_and_the_next_call_is_a_good_one(server, lm, ask, stream, fault):
    streams = FAULTS[fault].streams
    server.then_fault(fault, EVENTS if streams else ANSWER, times=None)
    model = lm(api_key=KEY, timeout=0.4 if LMTimeout in FAULTS[fault].raises else 5.0)
    await model.ready()
    try:
        came = "".join([delta.text async for delta in stream(model)]) if streams else (await ask(model)).text
    except LMError as error:
        shown = f"{error} {error!r} {vars(error)} {error.__cause__!r} {error.__context__!r}"
        assert KEY not in shown
        assert len(str(error)) < 1_000
        assert "litellm/openai/acme-1" in str(error)
    else:
        assert came == "Hi.", "an answer, and not the whole one"
    server.then(200, ANSWER, headers={"Content-Type": "application/json"}, times=None)
    assert (await ask(lm(headers={"x-next": "1"}))).text == "Hi."


NAMES = {"401": dspex.AuthError, "429": RateLimited, "503": dspex.Unavailable, "400": dspex.BadRequest}


@pytest.mark.parametrize("fault", NAMES)
async def test_a_status_is_told_by_its_class(server, lm, ask, fault):
    server.then_fault(fault, ANSWER)
    with pytest.raises(NAMES[fault]) as caught:
        await ask(lm())
    assert caught.value.status == int(fault)


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
