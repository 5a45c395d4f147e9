"""The least that must hold on every Python."""

import asyncio

import pytest

import dspex

ANSWER = {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
PIECES = [{"choices": [{"delta": {"content": text}}]} for text in ("H", "i.")]


def test_the_plugin_is_found_by_its_name():
    assert dspex.LM("openai/gpt-4o").capabilities.json_schema is True


def test_sync_calls_answer(server, lm):
    server.then(200, json=ANSWER, times=None)
    model = lm()
    assert [model("Hello?"), model("Hello?")] == [["Hi."], ["Hi."]]
    assert server.connections == 1


def test_loops_one_after_another_answer(server, lm, ask):
    server.then(200, json=ANSWER, times=None)
    model = lm()
    assert [asyncio.run(ask(model)).text for _ in range(3)] == ["Hi."] * 3
    assert model("Hello?") == ["Hi."]


async def test_a_stream_answers(server, lm, stream):
    server.then_events([*PIECES, {"choices": [{"delta": {}, "finish_reason": "stop"}]}])
    assert "".join([delta.text async for delta in stream(lm())]) == "Hi."


@pytest.mark.fault("N05")
@pytest.mark.fault("N07")
@pytest.mark.fault("S07")
async def test_passing_faults_are_got_over(server, lm, ask, quick):
    server.then_raw(end="reset").then(503).then_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{}").then(
        200, json=ANSWER
    )
    async with quick.app():
        assert (await ask(lm(num_retries=3))).text == "Hi."
    assert len(server.requests) == 4


async def test_a_wrong_key_is_told(server, lm, ask):
    server.then(401, json={"error": {"message": "Incorrect API key provided: sk-wrong"}})
    with pytest.raises(dspex.AuthError, match="api_key=") as caught:
        await ask(lm(api_key="sk-wrong"))
    assert "sk-wrong" not in str(caught.value)
