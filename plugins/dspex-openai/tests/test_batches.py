"""Chat completions by OpenAI's batch API, against a server that answers by script."""

import asyncio
from email.parser import BytesParser

import msgspec
import pytest

import dspex
from dspex.plugin import AuthError, BadRequest, RateLimited, Unavailable
from dspex.testing import FaultServer


class Hurried:
    """A clock whose waits are short."""

    def now(self):
        return 0.0

    def monotonic(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(min(seconds, 0.01))


def completion(text):
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    return {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": usage,
    }


def line(name, status=200, body=None, error=None):
    reply = None if body is None else {"status_code": status, "request_id": "r", "body": body}
    return msgspec.json.encode({"id": "x", "custom_id": name, "response": reply, "error": error}) + b"\n"


def batch(status="in_progress", **more):
    return {"id": "batch_1", "object": "batch", "status": status, **more}


def taken(server, listed=()):
    """The script of a batch that is new."""
    server.then(json={"object": "list", "data": list(listed)})
    server.then(json={"id": "file-in", "object": "file"})
    return server.then(json=batch("validating"))


def asked(server, count=2, **more):
    """What comes of so many calls at once."""

    async def main():
        async with dspex.App(clock=Hurried(), prices={"openai/m": (1_000.0, 10_000.0)}):
            lm = dspex.LM(
                "openai/m", api_base=f"{server.url}/v1", api_key="sk-secret", dispatch="batch", cache=False, **more
            )
            calls = (lm.acall(f"{number}?") for number in range(count))
            ends = await asyncio.gather(*calls, return_exceptions=True)
            return ends, lm.history

    return asyncio.run(main())


@pytest.fixture
def server():
    with FaultServer() as made:
        yield made


def form_of(request):
    """The parts of a form by name, as another parser reads it."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + request.body).get_payload()
    return {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts}


def test_calls_go_up_as_a_file_and_come_down_as_one(server):
    taken(server).then(json=batch())
    server.then(json=batch("completed", output_file_id="file-out"))
    server.then(json=batch("completed", output_file_id="file-out"))
    server.then(200, line("call-2-0", body=completion("two")) + line("call-1-0", body=completion("one")))
    ends, history = asked(server, temperature=0.5)
    assert ends == [["one"], ["two"]]
    paths = [(seen.method, seen.path) for seen in server.requests]
    assert paths == [
        ("GET", "/v1/batches"),
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches/batch_1"),
        ("GET", "/v1/batches/batch_1"),
        ("GET", "/v1/batches/batch_1"),
        ("GET", "/v1/files/file-out/content"),
    ]
    form = form_of(server.requests[1])
    assert form["purpose"] == b"batch"
    first, second = map(msgspec.json.decode, form["file"].splitlines())
    assert first == {
        "custom_id": "call-1-0",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": [{"role": "user", "content": "0?"}], "temperature": 0.5},
    }
    assert second["custom_id"] == "call-2-0"
    order = server.requests[2].json
    assert order["input_file_id"] == "file-in"
    assert order["endpoint"] == "/v1/chat/completions"
    assert order["completion_window"] == "24h"
    assert {seen.headers["authorization"] for seen in server.requests} == {"Bearer sk-secret"}
    assert history[0]["cost"] == pytest.approx((100 * 1_000.0 + 10 * 10_000.0) / 1e6 / 2)


def test_what_was_refused_is_in_a_file_of_its_own(server):
    over = batch("completed", output_file_id="file-out", error_file_id="file-bad")
    taken(server).then(json=over).then(json=over)
    server.then(200, line("call-1-0", body=completion("one")))
    fault = {"error": {"message": "'messages' is too long", "type": "invalid_request_error"}}
    server.then(200, line("call-2-0", 400, fault))
    (first, second), _ = asked(server)
    assert first == ["one"]
    assert type(second) is BadRequest
    assert "'messages' is too long" in str(second)


def test_what_was_not_in_time_goes_into_another(server):
    late = batch("expired", output_file_id="file-out", error_file_id="file-bad")
    taken(server).then(json=late).then(json=late)
    server.then(200, line("call-1-0", body=completion("one")))
    server.then(200, line("call-2-0", error={"code": "batch_expired", "message": "not in time"}))
    taken(server).then(json=batch("completed", output_file_id="file-2")).then(
        json=batch("completed", output_file_id="file-2")
    )
    server.then(200, line("call-2-0", body=completion("two")))
    ends, _ = asked(server)
    assert ends == [["one"], ["two"]]


def test_a_batch_that_was_taken_already_is_not_sent_again(server):
    def known(request):
        return {"id": "batch_1", "status": "in_progress", "metadata": {"dspex_key": request}}

    server.then(json={"data": []}).then(json={"id": "file-in"})
    server.then_fault("reset", b"{}")  # it may have been taken
    server.then(json={"data": [known("another's"), {"id": "batch_2", "status": "in_progress"}]})
    server.then(json={"id": "file-in-2"}).then(json=batch())
    over = batch("completed", output_file_id="file-out")
    server.then(json=over).then(json=over).then(200, line("call-1-0", body=completion("one")))
    ends, _ = asked(server, count=1)
    assert ends == [["one"]]
    keys = {
        seen.json["metadata"]["dspex_key"]
        for seen in server.requests
        if (seen.method, seen.path) == ("POST", "/v1/batches")
    }
    assert len(keys) == 1  # so that the first, had it been taken, would have been found


@pytest.mark.parametrize(
    ("found", "kind", "said"),
    [
        (batch("failed", errors={"data": [{"message": "bad JSON", "line": 2}]}), BadRequest, "bad JSON (line 2)"),
        (batch("cancelled"), Unavailable, "was cancelled"),
    ],
)
def test_a_batch_that_comes_to_nothing_says_why(server, found, kind, said):
    taken(server).then(json=found)
    ends, _ = asked(server)
    assert {type(end) for end in ends} == {kind}
    assert said in str(ends[0])


@pytest.mark.parametrize(("status", "kind"), [(401, AuthError), (429, RateLimited)])
def test_a_refusal_is_the_usual_error(server, status, kind):
    server.then(status, json={"error": {"message": "no"}}, times=None)
    ends, _ = asked(server, num_retries=0)
    assert {type(end) for end in ends} == {kind}
    assert "sk-secret" not in str(ends)


def test_a_reply_that_says_nothing_is_an_error_of_its_call_alone(server):
    over = batch("completed", output_file_id="file-out")
    taken(server).then(json=over).then(json=over)
    server.then(200, line("call-1-0", body={"choices": []}) + line("call-2-0", body=completion("two")))
    (first, second), _ = asked(server, num_retries=0)
    assert "no choices" in str(first)
    assert second == ["two"]


def test_calls_that_nobody_waits_for_are_cancelled_there_too(server):
    taken(server).then(json=batch(), times=None)

    async def main():
        async with dspex.App(clock=Hurried()):
            lm = dspex.LM("openai/m", api_base=f"{server.url}/v1", api_key="k", dispatch="batch", cache=False)
            task = asyncio.create_task(lm.acall("0?"))
            is_waiting = lambda made: len(made.requests) >= 4  # noqa: E731
            assert await asyncio.to_thread(server.wait, is_waiting)
            task.cancel()
            await asyncio.wait([task])
            was_told = lambda made: made.requests[-1].path.endswith("/cancel")  # noqa: E731
            assert await asyncio.to_thread(server.wait, was_told)

    asyncio.run(main())
