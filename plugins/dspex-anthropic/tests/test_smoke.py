"""The least that must hold on every Python."""

import asyncio

import pytest

import dspex

ANSWER = {
    "content": [{"type": "text", "text": "Hi."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}


def test_the_plugin_is_found_by_its_name():
    assert dspex.LM("anthropic/claude-sonnet-4-5").capabilities.json_schema is True


def test_sync_calls_answer(server, lm):
    server.then(200, json=ANSWER, times=None)
    model = lm()
    assert [model("Hello?"), model("Hello?")] == [["Hi."], ["Hi."]]
    assert server.connections == 1


def test_loops_one_after_another_answer(server, lm, ask):
    server.then(200, json=ANSWER, times=None)
    model = lm()
    assert [asyncio.run(ask(model)).text for _ in range(3)] == ["Hi."] * 3


async def test_a_stream_answers(server, lm, stream, events):
    server.then_events(events("H", "i."), done=False)
    assert "".join([delta.text async for delta in stream(lm())]) == "Hi."


@pytest.mark.fault("N05")
@pytest.mark.fault("S07")
async def test_passing_faults_are_got_over(server, lm, ask, quick):
    server.then_raw(end="reset").then(529).then(200, json=ANSWER)
    async with quick.app():
        assert (await ask(lm(num_retries=3))).text == "Hi."
    assert len(server.requests) == 3


async def test_a_wrong_key_is_told(server, lm, ask):
    refusal = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key: sk-wrong"}}
    server.then(401, json=refusal)
    with pytest.raises(dspex.AuthError, match="api_key=") as caught:
        await ask(lm(api_key="sk-wrong"))
    assert "sk-wrong" not in str(caught.value)
