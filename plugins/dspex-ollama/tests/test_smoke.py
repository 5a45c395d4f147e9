"""The least that must hold on every Python."""

import asyncio

import pytest

import dspex


def test_the_plugin_is_found_by_its_names():
    assert dspex.LM("ollama/llama3.2").capabilities.json_schema is True
    assert dspex.LM("ollama_chat/llama3.2").capabilities.json_schema is True


def test_sync_calls_answer(server, lm, reply):
    server.then(200, json=reply("Hi."), times=None)
    model = lm()
    assert [model("Hello?"), model("Hello?")] == [["Hi."], ["Hi."]]
    assert server.connections == 1


def test_loops_one_after_another_answer(server, lm, ask, reply):
    server.then(200, json=reply("Hi."), times=None)
    model = lm()
    assert [asyncio.run(ask(model)).text for _ in range(3)] == ["Hi."] * 3


async def test_a_stream_answers(lines, lm, stream, reply):
    lines(reply("H", done=False), reply("i."))
    assert "".join([delta.text async for delta in stream(lm())]) == "Hi."


async def test_an_embedder_answers(server):
    server.then(200, json={"embeddings": [[1.0, 0.5]]})
    embedder = dspex.Embedder("ollama/e", api_base=server.url, caching=False)
    assert [list(row) for row in await embedder.embed(["Hi."])] == [[1.0, 0.5]]


@pytest.mark.fault("N05")
@pytest.mark.fault("S07")
async def test_passing_faults_are_got_over(server, lm, ask, quick, reply):
    server.then_raw(end="reset").then(503).then(200, json=reply("Hi."))
    async with quick.app():
        assert (await ask(lm(num_retries=3))).text == "Hi."
    assert len(server.requests) == 3
