"""What a refusal means: class, whether to try again, and what its text tells and hides."""

import asyncio
import contextlib

import pytest

from dspex.core.clock import SystemClock
from dspex.core.endpoint import Endpoint
from dspex.core.errors import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextWindowExceeded,
    LMTimeout,
    ProtocolError,
    RateLimited,
    Unavailable,
)
from dspex.plugin.statuses import retry_after, status_error
from dspex.service.http import HttpService
from dspex.service.limits import Limiter, Pace
from dspex.service.retry import RetryPolicy
from dspex.testing.fault_server import FaultServer

MIB = 1 << 20


def attempts(error: Exception) -> int:
    return RetryPolicy().attempts_for(error)


def openai(message: str, **more: str) -> dict[str, object]:
    return {"error": {"message": message, **more}}


@pytest.mark.fault("S01")
async def test_seconds_to_wait_are_told(server, http, failure):
    server.then(429, json=openai("slow down"), headers={"Retry-After": "7"})
    error = await failure(http)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 7.0
    assert "7 s" in str(error)
    assert attempts(error) == 4


@pytest.mark.fault("S02")
def test_a_date_to_wait_for_is_taken_against_the_replys_own_clock():
    headers = {"date": "Mon, 05 Jan 2026 10:00:00 GMT", "retry-after": "Mon, 05 Jan 2026 10:00:03 GMT"}
    assert retry_after(headers) == 3.0


@pytest.mark.fault("S02")
async def test_a_date_to_wait_for_is_taken_against_our_clock_where_the_reply_has_none(server, client, failure):
    class Clock(SystemClock):
        def now(self):
            return 1_767_607_200.0  # 10:00:00

    server.then(429, json=openai("slow down"), headers={"Retry-After": "Mon, 05 Jan 2026 10:00:30 GMT"})
    assert (await failure(client(clock=Clock()))).retry_after == 30.0


@pytest.mark.fault("S03")
async def test_a_wait_beyond_any_deadline_is_told_as_it_is(server, http, failure):
    server.then(429, headers={"Retry-After": "86400"})
    assert (await failure(http)).retry_after == 86400.0


@pytest.mark.fault("S04")
@pytest.mark.parametrize(
    "value", ["-5", "0", "soon", "NaN", "inf", "1e400", "9" * 5000, "1,5", "", "Mon, 99 Foo 2026", "Mon, 05 Jan 2026 10:00:03 GMT"]
)  # fmt: skip
def test_a_wait_that_makes_no_sense_is_ignored(value):
    assert retry_after({"retry-after": value}) is None


def test_milliseconds_are_finer_than_seconds():
    assert retry_after({"retry-after": "1", "retry-after-ms": "250"}) == 0.25


@pytest.mark.fault("S06")
@pytest.mark.parametrize(("status", "code"), [(429, "insufficient_quota"), (402, "insufficient_balance")])
async def test_a_used_up_quota_is_final_and_called_so(server, http, failure, status, code):
    server.then(status, json=openai("You exceeded your plan.", code=code))
    error = await failure(http)
    assert isinstance(error, RateLimited)
    assert attempts(error) == 1
    assert "quota" in str(error)


XAI = {
    "code": "Some resource has been exhausted",
    "error": "Your team has used all available credits, or reached its limit.",
}
MOONSHOT = {"error": {"type": "exceeded_current_quota_error", "message": "Your account is suspended."}}


@pytest.mark.fault("S06")
@pytest.mark.parametrize("body", [XAI, MOONSHOT], ids=["xai", "moonshot"])
async def test_a_quota_is_known_by_the_words_of_services_without_the_code(server, http, failure, body):
    server.then(429, json=body)
    error = await failure(http)
    assert (attempts(error), "used up" in str(error)) == (1, True)


async def test_a_limit_of_a_minute_is_no_used_up_quota_though_its_words_are_openais(server, http, failure):
    message = "You exceeded your current quota, please check your plan and billing details."
    server.then(429, json={"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": message}})
    assert attempts(await failure(http)) == 4


@pytest.mark.fault("S07")
@pytest.mark.fault("S08")
@pytest.mark.parametrize(
    ("status", "kind"),
    [(408, LMTimeout), (409, Unavailable), (425, Unavailable), (498, RateLimited), (499, Unavailable), (500, Unavailable), (502, Unavailable),
     (503, Unavailable), (504, LMTimeout), (529, Unavailable)],
)  # fmt: skip
async def test_a_fault_of_the_server_may_be_tried_again(server, http, failure, status, kind):
    server.then(status)
    error = await failure(http)
    assert type(error) is kind
    assert error.status == status
    assert attempts(error) == 4


@pytest.mark.fault("N21")
@pytest.mark.parametrize("status", [502, 503], ids=str)
async def test_a_web_page_with_a_status_is_judged_by_the_status(server, http, failure, status):
    server.then(status, "<html>\n <h1>Bad   Gateway</h1></html>", headers={"Content-Type": "text/html"})
    error = await failure(http)
    assert isinstance(error, Unavailable)
    assert "<h1>Bad Gateway</h1>" in str(error)


@pytest.mark.fault("S09")
@pytest.mark.parametrize("status", [400, 404, 405, 413, 422, 418, 501], ids=str)
async def test_a_request_that_is_refused_as_it_is_is_not_sent_again(server, http, failure, status):
    server.then(status, json=openai("No."))
    error = await failure(http)
    assert isinstance(error, BadRequest)
    assert attempts(error) == 1
    assert "No." in str(error)


@pytest.mark.fault("S09")
async def test_not_found_names_model_and_address(server, http, failure):
    server.then(404, json=openai("The model does not exist", code="model_not_found"))
    error = await failure(http)
    assert "'acme-1'" in str(error)
    assert f"{server.url}/v1" in str(error)


@pytest.mark.fault("S10")
@pytest.mark.parametrize("status", [401, 403], ids=str)
async def test_a_refused_key_is_named_by_its_source(server, http, failure, status):
    server.then(status, json=openai("Incorrect API key provided"))
    error = await failure(http)
    assert isinstance(error, AuthError)
    assert attempts(error) == 1
    assert "the environment variable ACME_API_KEY" in str(error)


@pytest.mark.fault("S10")
async def test_a_missing_key_is_asked_for_by_name(server, client, failure):
    server.then(401)
    assert "Set ACME_API_KEY, or pass api_key=" in str(await failure(client(key=None)))


TOO_LONG = {
    "openai": (400, openai("This model's maximum context length is 8192 tokens.", code="context_length_exceeded")),
    "llama.cpp": (
        400,
        {"error": {"code": 400, "type": "exceed_context_size_error", "message": "request (9000 tokens)"}},
    ),
    "anthropic": (
        400,
        {"type": "error", "error": openai("prompt is too long: 200001 tokens > 200000 maximum")["error"]},
    ),
    "gemini": (
        400,
        {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "The input token count (9) exceeds"}},
    ),
    "cohere": (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
    "vllm": (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you"}),
    "bedrock": (400, {"message": "Input is too long for requested model."}),
    "groq": (413, openai("Please reduce the length of the messages or completion.")),
}


@pytest.mark.fault("S11")
@pytest.mark.parametrize(("status", "body"), TOO_LONG.values(), ids=TOO_LONG.keys())
async def test_a_prompt_that_is_too_long_is_known_by_the_providers_words(server, http, failure, status, body):
    server.then(status, json=body)
    error = await failure(http)
    assert isinstance(error, ContextWindowExceeded)
    assert attempts(error) == 1


@pytest.mark.fault("S12")
@pytest.mark.parametrize(
    "body",
    [openai("Your request was rejected as a result of our safety system."), openai("no", code="content_policy_violation"),
     openai("The prompt triggered Azure OpenAI's content management policy", code="content_filter")],
    ids=["words", "code", "azure"],
)  # fmt: skip
async def test_a_policys_refusal_is_content_filtered(server, http, failure, body):
    server.then(400, json=body)
    error = await failure(http)
    assert isinstance(error, ContentFiltered)
    assert attempts(error) == 1


@pytest.mark.fault("S13")
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_of_an_endless_error_body_little_is_read_and_less_is_shown(server, http, failure, packed):
    headers = {"Content-Length": str(160 * MIB), **({"Content-Encoding": "gzip"} if packed else {})}
    server.then(500, b"x" * 1000, headers=headers, endless=b"x" * 65536, end="close")
    error = await failure(http)
    assert isinstance(error, Unavailable)
    assert server.sent < 16 * MIB


@pytest.mark.fault("S13")
@pytest.mark.parametrize(
    ("body", "told"),
    [(b"\xff\xfe no json", "no json"), (b'"just a text"', "just a text"), (b'{"error": "as text"}', "as text"),
     (b'[{"error": {"message": "in a list"}}]', "in a list"), (b"[" * 60_000, "[[["), (b"{}", "{}"), (b"", "500"),
     (b'{"detail": [{"loc": ["body"], "msg": "missing"}]}', "missing"), (b'{"error": {"message": null}}', "error")],
)  # fmt: skip
async def test_an_error_body_of_any_shape_is_shown(server, http, failure, body, told):
    server.then(500, body)
    error = await failure(http)
    assert isinstance(error, Unavailable)
    assert told in str(error)


@pytest.mark.fault("S14")
@pytest.mark.parametrize("place", ["x" * 480 + " sk-canary-0123456789", "Bearer sk-canary-0123456789 is wrong"])
async def test_a_key_in_the_error_text_is_hidden(server, http, failure, place):
    server.then(401, json=openai(place))
    error = await failure(http)  # which looks for the key
    assert "sk-canary" not in str(error)


@pytest.mark.fault("S14")
def test_a_key_given_as_a_header_is_hidden_too():
    endpoint = Endpoint("acme", "acme-1", headers={"X-Api-Key": "Token abcd-efgh"})
    assert "abcd" not in str(status_error(endpoint, 500, {}, b"you sent abcd-efgh"))


@pytest.mark.fault("S15")
@pytest.mark.parametrize(
    ("body", "kind"),
    [(b'{"error": {"code": 502, "message": "upstream"}}', Unavailable),
     (b'{"error": {"code": "rate_limit_exceeded", "message": "later"}}', RateLimited),
     (b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}', Unavailable),
     (b'{"error": {"message": "something"}}', ProtocolError)],
    ids=["number", "code", "type", "absent"],
)  # fmt: skip
def test_an_error_object_in_a_good_reply_is_mapped_by_its_code(body, kind):
    error = status_error(Endpoint("acme", "acme-1"), 200, {}, body)
    assert type(error) is kind


async def test_the_provider_may_know_better_and_what_it_leaves_out_is_filled_in(server, client, failure):
    def refine(status, headers, body):
        return RateLimited("busy, says the vendor") if headers["x-vendor"] == "busy" and b"?" in body else None

    server.then(400, "?", headers={"X-Vendor": "busy", "X-Request-Id": "r1", "Retry-After": "2"})
    error = await failure(client(error=refine))
    assert type(error) is RateLimited
    assert (error.status, error.request_id, error.retry_after) == (400, "r1", 2.0)


async def test_an_error_keeps_status_code_and_request_id(server, http, failure):
    server.then(500, json=openai("oops", code="server_error"), headers={"X-Request-Id": "req_7"})
    error = await failure(http)
    assert (error.status, error.code, error.request_id) == (500, "server_error", "req_7")


async def test_two_servers_have_two_clients(server, client):
    with FaultServer() as other:
        server.then(200, "one")
        other.then(200, "two")
        replies = [await client(address).request("GET", "/") for address in (server.url, other.url)]
    assert [reply.body for reply in replies] == [b"one", b"two"]


@pytest.mark.fault("S01")
@pytest.mark.parametrize("status", [200, 429])
async def test_each_reply_tells_of_the_endpoints_limits(server, status):
    server.then(status, json={}, headers={"X-RateLimit-Remaining-Requests": "0", "X-RateLimit-Reset-Requests": "7s"})
    limiter = Limiter(Pace(), SystemClock())
    client = HttpService(Endpoint("acme", "m", server.url), told=limiter.hear)
    with contextlib.suppress(RateLimited):
        await client.request("POST", "/chat", json={})
    await client.aclose()
    with pytest.raises(RateLimited) as caught:
        await limiter.acquire(deadline=asyncio.get_running_loop().time() + 5)
    assert caught.value.retry_after == pytest.approx(7, abs=0.5)
