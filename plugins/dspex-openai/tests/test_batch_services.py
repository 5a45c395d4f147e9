"""Batches of services like OpenAI: each by its own API, over a server that answers by script and over aimock."""

import asyncio
import json
from email.parser import BytesParser

import pytest

import dspex
from dspex.plugin import BadRequest, BatchSpec, Endpoint, HttpReply, LMRequest, Message
from dspex_openai.batch_wire import CHAT
from dspex_openai.making import make_azure_lm, make_lm
from dspex_openai.presets import PRESETS

KEY = "k1"
SPEC = BatchSpec(
    {"call-1": LMRequest("m", (Message.of("user", "1?"),), {"seed": 7}), "call-2": LMRequest("m", ())}, KEY
)
PLAIN_SPEC = BatchSpec({"call-1": LMRequest("m", (Message.of("user", "1?"),))}, KEY)


def completion(text):
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]}


class Service:
    """A service's own way of batches, kept in memory: `paths` answers by method and path, as a function of what was sent."""

    def __init__(self, paths):
        self.paths = paths
        self.seen = []

    async def request(self, method, path, *, json=None, body=None, headers={}, is_final=False):  # noqa: B006
        path = path.partition("/v1/")[2] or path
        self.seen.append((method, path, json, self.form(headers, body) if body else {}))
        answer = self.paths[f"{method} {path}"]
        return HttpReply(200, {}, answer if isinstance(answer, bytes) else dump(answer))

    @staticmethod
    def form(headers, body):
        head = f"Content-Type: {headers['content-type']}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + body).get_payload()
        return {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts}


def dump(value):
    return json.dumps(value).encode()


def lines(*rows):
    return b"".join(dump(row) + b"\n" for row in rows)


def provider(name, paths):
    http = Service(paths)
    return make_lm(Endpoint(name, "m", f"http://{name}.test/v1", None, {}), http), http


async def test_together_takes_a_file_of_its_own_kind_and_knows_a_batch_by_it():
    over = {"id": "b1", "status": "COMPLETED", "output_file_id": "out", "error_file_id": "bad", "input_file_id": "in"}
    paths = {
        "GET batches": [],
        "POST files/upload": {"id": "in"},
        "POST batches": {"job": {"id": "b1", "status": "VALIDATING"}},
        "GET batches/b1": over,
        "GET files/out/content": lines(
            {"custom_id": "call-1", "response": {"status_code": 200, "body": completion("one")}}
        ),
        "GET files/bad/content": lines({"custom_id": "call-2", "error": {"message": "no room"}}),
    }
    model, http = provider("together", paths)
    assert await model.batch_start(SPEC) == "b1"
    form, order = http.seen[1][3], http.seen[2][2]
    assert (form["purpose"], form["file_name"]) == (b"batch-api", b"dspex-k1.jsonl")
    assert order == {"input_file_id": "in", "endpoint": CHAT, "completion_window": "24h"}
    assert (await model.batch_status("b1")).state == "ended"
    results = await model.batch_results("b1")
    assert results["call-1"].text == "one"
    assert "no room" in str(results["call-2"])
    paths |= {"GET batches": [over], "GET files": {"data": [{"id": "in", "filename": "dspex-k1.jsonl"}]}}
    assert await model.batch_start(SPEC) == "b1"
    assert http.seen[-1][:2] == ("GET", "files"), "it was sent twice"


async def test_mistral_takes_one_model_a_batch_and_its_own_names_of_parameters():
    job = {"id": "j1", "status": "SUCCESS", "output_file": "out", "error_file": None, "errors": []}
    paths = {
        "GET batch/jobs": {"data": [{"id": "j0", "status": "RUNNING", "metadata": {}}], "total": 1},
        "POST files": {"id": "in"},
        "POST batch/jobs": {"id": "j1", "status": "QUEUED"},
        "GET batch/jobs/j1": job,
        "GET files/out/content": lines(
            {"custom_id": "call-1", "response": {"status_code": 200, "body": completion("one")}, "error": None},
            {"custom_id": "call-2", "response": {"status_code": 422, "body": {"message": "no messages"}}},
        ),
        "POST batch/jobs/j1/cancel": job,
    }
    model, http = provider("mistral", paths)
    assert await model.batch_start(SPEC) == "j1"
    first, second = map(json.loads, http.seen[1][3]["file"].splitlines())
    assert first == {"custom_id": "call-1", "body": {"messages": [{"role": "user", "content": "1?"}], "random_seed": 7}}
    assert second["custom_id"] == "call-2"
    assert http.seen[2][2] == {
        "input_files": ["in"], "model": "m", "endpoint": CHAT, "timeout_hours": 24, "metadata": {"dspex_key": KEY},
    }  # fmt: skip
    results = await model.batch_results("j1")
    assert results["call-1"].text == "one"
    assert isinstance(results["call-2"], BadRequest)
    await model.batch_cancel("j1")
    paths["GET batch/jobs"] = {"data": [{"id": "j1", "metadata": {"dspex_key": KEY}}]}
    assert await model.batch_start(SPEC) == "j1"
    assert http.seen[-1][:2] == ("GET", "batch/jobs"), "it was sent twice"


@pytest.mark.parametrize(
    ("said", "state", "error"),
    [
        ({"status": "RUNNING"}, "running", ""),
        ({"status": "CANCELLATION_REQUESTED"}, "running", ""),
        ({"status": "TIMEOUT_EXCEEDED", "output_file": "out"}, "ended", ""),
        ({"status": "CANCELLED"}, "cancelled", ""),
        ({"status": "CANCELLED", "output_file": "out"}, "ended", ""),
        ({"status": "FAILED", "errors": [{"message": "bad JSON", "count": 2}]}, "failed", "bad JSON"),
        ({"status": "FAILED"}, "failed", "does not say why"),
    ],
    ids=str,
)
async def test_a_job_at_mistral_is_as_far_as_it_says(said, state, error):
    model, _ = provider("mistral", {"GET batch/jobs/j1": {"id": "j1", **said}})
    found = await model.batch_status("j1")
    assert found.state == state
    assert error in found.error


async def test_xai_tells_of_a_batch_by_counts_and_gives_its_replies_in_pages():
    def page(name, token, **what):
        return {"results": [{"batch_request_id": name, "batch_result": what}], "pagination_token": token}

    over = {"batch_id": "b1", "name": "dspex-k1", "state": {"num_requests": 2, "num_pending": 0}}
    paths = {
        "GET batches": {"batches": [{"batch_id": "b0", "name": "another's"}]},
        "POST files": {"id": "in"},
        "POST batches": {"batch_id": "b1", "state": {}},
        "GET batches/b1": over,
        "GET batches/b1/results?limit=1000": page("call-1", "t", response={"chat_get_completion": completion("one")}),
        "GET batches/b1/results?limit=1000&pagination_token=t": page(
            "call-2", None, error={"code": 3, "message": "no"}
        ),
        "POST batches/b1:cancel": over,
    }
    model, http = provider("xai", paths)
    assert await model.batch_start(PLAIN_SPEC) == "b1"
    assert json.loads(http.seen[1][3]["file"])["url"] == CHAT
    assert http.seen[2][2] == {"name": "dspex-k1", "input_file_id": "in"}
    assert (await model.batch_status("b1")).state == "ended"
    results = await model.batch_results("b1")
    assert results["call-1"].text == "one"
    assert isinstance(results["call-2"], BadRequest)
    await model.batch_cancel("b1")
    paths["GET batches"] = {"batches": [over]}
    assert await model.batch_start(PLAIN_SPEC) == "b1"
    assert http.seen[-1][:2] == ("GET", "batches"), "it was sent twice"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"state": {}}, "running"),
        ({"state": {"num_requests": 2, "num_pending": 1}}, "running"),
        ({"cancel_time": "2026-01-01", "state": {"num_requests": 2, "num_success": 1}}, "ended"),
        ({"cancel_time": "2026-01-01", "state": {"num_requests": 2}}, "cancelled"),
        ({"cancel_time": "2026-01-01", "cancel_by_xai_message": "line 2 is no JSON"}, "failed"),
    ],
    ids=str,
)
async def test_a_batch_at_xai_is_as_far_as_its_counts_say(said, state):
    model, _ = provider("xai", {"GET batches/b1": {"batch_id": "b1", **said}})
    found = await model.batch_status("b1")
    assert (found.state, found.error) == (state, said.get("cancel_by_xai_message", ""))


async def test_azure_names_its_own_path_in_each_line():
    http = Service(
        {
            "GET batches": {"data": []},
            "POST files": {"id": "in"},
            "POST batches": {"id": "b1", "status": "validating"},
        }
    )
    model = make_azure_lm(Endpoint("azure", "m", "https://mine.test", None, {}), http)
    assert await model.batch_start(PLAIN_SPEC) == "b1"
    assert json.loads(http.seen[1][3]["file"])["url"] == http.seen[2][2]["endpoint"] == "/chat/completions"


async def test_what_a_service_lacks_is_refused_in_a_batch_too():
    model, http = provider("groq", {})
    with pytest.raises(BadRequest, match="capability: logit_bias"):
        await model.batch_start(BatchSpec({"call-1": LMRequest("m", (), {"logit_bias": {}})}, KEY))
    assert not http.seen


@pytest.mark.parametrize("name", sorted(name for name, preset in PRESETS.items() if preset.batches is None))
async def test_a_service_without_batches_says_so_and_is_not_called(name, server):
    lm = dspex.LM(f"{name}/m", api_base=server.url, api_key="k", cache=False, dispatch="batch")
    with pytest.raises(dspex.ConfigurationError, match=f"{name}/m cannot be asked in batches"):
        await lm.acall("1?")
    assert not server.requests


def test_no_service_has_batches_by_a_form_that_is_not_there():
    for name, preset in PRESETS.items():
        made = make_lm(Endpoint(name, "m", None, None, {}), None)
        assert made.capabilities.batch is hasattr(made, "batch_start") is (preset.batches is not None)


class Hurried:
    """A clock whose waits are short."""

    def now(self):
        return 0.0

    def monotonic(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(min(seconds, 0.01))


@pytest.mark.parametrize("name", ["openai", "groq"])
async def test_aimocks_batches_are_answered(mock, name):
    async with dspex.App(clock=Hurried()):
        lm = dspex.LM(
            f"{name}/m", api_base=f"{mock.url}/v1", api_key="k", cache=False, dispatch="batch", temperature=0.5
        )
        ends = await asyncio.gather(*(lm.acall(f"{number}?") for number in range(3)))
    assert ends == [["Mock batch completion"]] * 3


@pytest.mark.parametrize(
    "told",
    [
        {"batch_result": {"error": {"code": 3, "message": "boom"}}},
        {"batch_result": {"error": "boom"}},
        {"batch_result": {"error_message": "boom"}},
        {"error_message": "boom"},
    ],
)
async def test_why_a_request_of_a_batch_at_xai_failed_is_told_wherever_it_stands(told):
    page = {"results": [{"batch_request_id": "a", **told}]}
    model, _ = provider("xai", {"GET batches/b1/results?limit=1000": page})
    assert "boom" in str((await model.batch_results("b1"))["a"])
