"""Messages by Anthropic's batch API, against a server that answers by script."""

import asyncio

import msgspec
import pytest

import dspex
from dspex.plugin import BadRequest, RateLimited, Unavailable
from dspex.testing import FaultServer


class Hurried:
    """A clock whose waits are short."""

    def now(self):
        return 0.0

    def monotonic(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(min(seconds, 0.01))


def message(text):
    usage = {"input_tokens": 100, "output_tokens": 10}
    content = [{"type": "text", "text": text}]
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": "end_turn",
        "usage": usage,
    }


def line(name, **result):
    return msgspec.json.encode({"custom_id": name, "result": result}) + b"\n"


def batch(status="in_progress", **more):
    return {"id": "msgbatch_1", "type": "message_batch", "processing_status": status, **more}


def asked(server, count=2, **more):
    """What comes of so many calls at once."""

    async def main():
        async with dspex.App(clock=Hurried(), prices={"anthropic/m": (1_000.0, 10_000.0)}):
            lm = dspex.LM(
                "anthropic/m", api_base=server.url, api_key="sk-secret", dispatch="batch", cache=False, **more
            )
            calls = (lm.acall(f"{number}?") for number in range(count))
            ends = await asyncio.gather(*calls, return_exceptions=True)
            return ends, lm.history

    return asyncio.run(main())


@pytest.fixture
def server():
    with FaultServer() as made:
        yield made


def test_calls_go_up_together_and_their_replies_come_down(server):
    server.then(json=batch()).then(json=batch()).then(json=batch("ended"))
    server.then(json=batch("ended", results_url=f"{server.url}/v1/messages/batches/msgbatch_1/results"))
    server.then(
        200,
        line("call-2-0", type="succeeded", message=message("two"))
        + line("call-1-0", type="succeeded", message=message("one")),
    )
    ends, history = asked(server, max_tokens=50)
    assert ends == [["one"], ["two"]]
    assert [(seen.method, seen.path) for seen in server.requests] == [
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches/msgbatch_1"),
        ("GET", "/v1/messages/batches/msgbatch_1"),
        ("GET", "/v1/messages/batches/msgbatch_1"),
        ("GET", "/v1/messages/batches/msgbatch_1/results"),
    ]
    first, second = server.requests[0].json["requests"]
    assert (first["custom_id"], second["custom_id"]) == ("call-1-0", "call-2-0")
    assert first["params"]["model"] == "m"
    assert first["params"]["max_tokens"] == 50
    assert {seen.headers["x-api-key"] for seen in server.requests} == {"sk-secret"}
    assert history[0]["cost"] == pytest.approx((100 * 1_000.0 + 10 * 10_000.0) / 1e6 / 2)


def test_each_has_an_end_of_its_own(server):
    server.then(json=batch()).then(json=batch("ended")).then(json=batch("ended"))
    fault = {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}
    server.then(
        200,
        line("call-1-0", type="succeeded", message=message("one"))
        + line("call-2-0", type="errored", error=fault)
        + line("call-3-0", type="expired")
        + line("call-4-0", type="canceled"),
    )
    (first, second, third, fourth), _ = asked(server, count=4, num_retries=0)
    assert first == ["one"]
    assert type(second) is BadRequest
    assert "too long" in str(second)
    assert type(third) is type(fourth) is Unavailable
    assert "without an answer" in str(third)


def test_where_it_may_have_been_taken_it_is_not_sent_again(server):
    server.then_fault("reset", b"{}", times=None)
    ends, _ = asked(server)
    assert {type(end) for end in ends} == {Unavailable}
    assert len(server.requests) == 1


def test_where_it_was_refused_for_now_it_is(server):
    server.then(429, json={"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}})
    server.then(json=batch()).then(json=batch("ended")).then(json=batch("ended"))
    server.then(200, line("call-1-0", type="succeeded", message=message("one")))
    assert asked(server, count=1)[0] == [["one"]]


def test_a_refusal_is_the_usual_error(server):
    server.then(429, json={"type": "error", "error": {"type": "rate_limit_error", "message": "no"}}, times=None)
    ends, _ = asked(server, num_retries=0)
    assert {type(end) for end in ends} == {RateLimited}
