"""The least that must hold on every Python."""

import asyncio

import pytest

import dspex

ANSWER = {
    "candidates": [{"content": {"parts": [{"text": "Hi."}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2},
}


def test_the_plugin_is_found_by_its_name():
    assert dspex.LM("gemini/gemini-2.5-flash").capabilities.json_schema is True


def test_sync_calls_answer(server, lm):
    server.then(200, json=ANSWER, times=None)
    model = lm()
    assert [model("Hello?"), model("Hello?")] == [["Hi."], ["Hi."]]
    assert server.connections == 1


def test_loops_one_after_another_answer(server, lm, ask):
    server.then(200, json=ANSWER, times=None)
    model = lm()
    assert [asyncio.run(ask(model)).text for _ in range(3)] == ["Hi."] * 3


async def test_a_stream_answers(server, lm, stream):
    server.then_events([ANSWER], done=False)
    assert "".join([delta.text async for delta in stream(lm())]) == "Hi."


async def test_an_embedder_answers(server):
    server.then(200, json={"embeddings": [{"values": [1.0, 0.5]}]})
    embedder = dspex.Embedder("gemini/e", api_base=server.url, caching=False)
    assert [list(row) for row in await embedder.embed(["Hi."])] == [[1.0, 0.5]]


@pytest.mark.fault("N05")
@pytest.mark.fault("S07")
async def test_passing_faults_are_got_over(server, lm, ask, quick):
    server.then_raw(end="reset").then(503).then(200, json=ANSWER)
    async with quick.app():
        assert (await ask(lm(num_retries=3))).text == "Hi."
    assert len(server.requests) == 3
