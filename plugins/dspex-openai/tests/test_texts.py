"""Completions of texts: what is sent, and replies of every kind; faults are the kit's (test_contract)."""

import pytest

import dspex
from dspex.plugin import BadRequest, ContentFiltered, Image, Message, ProtocolError, Unavailable, Usage


def reply(*texts, reason="stop", **more):
    choices = [{"text": text, "index": place, "finish_reason": reason} for place, text in enumerate(texts)]
    return {
        "id": "cmpl-1",
        "model": "acme-1-0",
        "choices": choices,
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        **more,
    }


@pytest.fixture
def model(lm):
    return lambda **more: lm(model_type="text", **more)


@pytest.fixture
def sent(server, model, ask):
    async def sent(*said, options=None, **asked):
        server.then(200, json=reply("4"))
        await ask(model(**options or {}), *said, **asked)
        assert server.requests[-1].path == "/v1/completions"
        return server.requests[-1].json

    return sent


async def test_messages_become_a_text(sent):
    body = await sent(Message.of("system", "Add."), "1 + 1 =", max_completion_tokens=4, stop=["\n"], logprobs=True)
    assert body == {"model": "acme-1", "prompt": "Add.\n\n1 + 1 =", "max_tokens": 4, "stop": ["\n"], "logprobs": 1}


@pytest.mark.parametrize(("server_is", "where"), [("llamacpp", "grammar"), ("vllm", "structured_outputs")])
async def test_a_grammar_goes_where_the_server_wants_it(sent, server_is, where):
    assert where in await sent("Hi", options={"server": server_is}, grammar="root ::= x")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"grammar": "x"}, "grammar"), ({"reasoning_effort": "low"}, "reasoning"), ({"tools": ({"name": "f"},)}, "tools"),
        ({"schema": {"type": "object"}}, "json_schema"), ({"tool_choice": "auto"}, "tool_choice"),
    ],
)  # fmt: skip
async def test_what_a_text_cannot_have_is_refused_and_not_sent(sent, server, asked, words):
    with pytest.raises(BadRequest, match=words):
        await sent("Hi", **asked)
    with pytest.raises(BadRequest, match="images"):
        await sent(Message("user", (Image("data:image/png;base64,x"),)))
    assert not server.requests


async def test_a_base_model_is_asked_in_plain_form(server, model):
    server.then(200, json=reply(" Paris"))
    predict = dspex.Predict("question -> answer")
    predict.lm = model()
    assert (await predict.acall(question="The capital of France?")).answer == "Paris"
    assert server.requests[0].json["prompt"].endswith("Answer:")


async def test_log_probabilities_have_the_form_of_chats(server, model, ask):
    body = reply("42")
    tops = [{"4": -0.5, "5": -2.0}, None]
    body["choices"][0]["logprobs"] = {"tokens": ["4", "2"], "token_logprobs": [-0.5, -1.0], "top_logprobs": tops}
    server.then(200, json=body)
    [choice] = (await ask(model(), logprobs=2)).choices
    four = {"token": "4", "logprob": -0.5, "bytes": None}
    assert choice.logprobs["content"] == [
        {**four, "top_logprobs": [four, {"token": "5", "logprob": -2.0, "bytes": None}]},
        {"token": "2", "logprob": -1.0, "bytes": None, "top_logprobs": []},
    ]


async def test_several_completions_come_in_order(server, model, ask):
    server.then(200, json={"choices": [{"text": "b", "index": 1}, {"text": "a", "index": 0}]}, times=None)
    assert [choice.text for choice in (await ask(model(), n=1)).choices] == ["a"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"choices": []}, ProtocolError), ({"choices": [{"finish_reason": "stop"}]}, ProtocolError),
        (reply("x", reason="content_filter"), ContentFiltered), ({"error": {"code": 502, "message": "no"}}, Unavailable),
    ],
)  # fmt: skip
async def test_a_reply_without_an_answer_is_an_error(server, model, ask, stream, body, kind):
    server.then(200, json=body).then(200, json=body)
    with pytest.raises(kind):
        await ask(model())
    with pytest.raises(kind):
        [delta async for delta in stream(model())]


async def test_a_stream_that_a_policy_cut_is_content_filtered(server, model, stream):
    server.then_events([reply("x", reason="content_filter")])
    with pytest.raises(ContentFiltered):
        [delta async for delta in stream(model())]


async def test_a_stream_ends_with_reason_and_usage(server, model, stream):
    pieces = [reply("One", reason=None, usage=None), {"choices": [{"text": "x", "index": 1}]}, reply(" two")]
    server.then_events(pieces)
    came = [delta async for delta in stream(model())]
    assert "".join(delta.text for delta in came) == "One two"
    assert (came[-1].finish_reason, came[-1].usage) == ("stop", Usage(3, 2))
    assert server.requests[0].json["stream_options"] == {"include_usage": True}


async def test_a_fault_after_the_first_piece_is_final(server, model, stream):
    server.then_events([reply("One", reason=None), {"error": {"code": 500, "message": "no"}}], done=False)
    with pytest.raises(Unavailable) as caught:
        [delta async for delta in stream(model(num_retries=3))]
    assert caught.value.partial == "One"
