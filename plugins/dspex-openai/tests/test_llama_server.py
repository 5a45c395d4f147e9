"""Against llama.cpp's own HTTP server with a small real model: the wire as somebody else speaks it."""

import asyncio
import re
import socket

import msgspec
import pytest

import dspex
from dspex.plugin import AuthError, BadRequest, ContextWindowExceeded, Message, Unavailable

PROMPT = "The capital of France is"


async def test_a_reply_has_text_usage_and_the_servers_name_for_the_model(llama, ask):
    reply = await ask(llama.lm(), PROMPT)
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.input_tokens > 5
    assert 0 < reply.usage.output_tokens <= 6
    assert not reply.usage.estimated
    assert reply.model == "gemma-3-270m"


async def test_a_stream_is_the_whole_reply_in_pieces(llama, ask, stream):
    model = llama.lm(max_tokens=12)
    whole = await ask(model, PROMPT)
    deltas = [delta async for delta in stream(model, PROMPT)]
    assert "".join(delta.text for delta in deltas) == whole.text
    assert len(deltas) > 2
    assert (deltas[-1].finish_reason, deltas[-1].usage.output_tokens) == ("length", whole.usage.output_tokens)


def test_a_sync_call_is_the_same_call(llama):
    assert llama.lm()(PROMPT) == llama.lm()(messages=[{"role": "user", "content": PROMPT}])


async def test_a_server_with_one_slot_gives_several_choices_by_as_many_requests(llama, ask):
    reply = await ask(llama.lm(temperature=1.0), PROMPT, n=2)
    assert len(reply.choices) == 2


async def test_a_grammar_binds_the_reply(llama, ask):
    assert (await ask(llama.lm(grammar='root ::= "yes" | "no"'), "Is snow white?")).text in ("yes", "no")


async def test_a_json_schema_binds_the_reply(llama, ask):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "enum": [1, 2]}}, "required": ["n"]}
    reply = await ask(llama.lm(max_tokens=40), "A number, please.", schema=schema)
    assert msgspec.json.decode(reply.text)["n"] in (1, 2)


async def test_log_probabilities_come_with_their_alternatives(llama, ask):
    reply = await ask(llama.lm(max_tokens=2, logprobs=3), PROMPT)
    first = reply.choices[0].logprobs["content"][0]
    assert first["logprob"] <= 0
    assert len(first["top_logprobs"]) == 3


async def test_a_wrong_key_is_named_by_its_source_and_not_shown(llama, ask):
    with pytest.raises(AuthError, match=r"refuses the key from api_key=") as caught:
        await ask(llama.lm(api_key="sk-wrong-0123456789"), PROMPT)
    assert "0123456789" not in str(caught.value)
    assert caught.value.attempts == 1


async def test_a_prompt_that_is_too_long_is_told_apart(llama, ask):
    with pytest.raises(ContextWindowExceeded, match="512"):
        await ask(llama.lm(), "word " * 2000)


async def test_a_parameter_that_the_server_refuses_is_a_bad_request(llama, ask):
    with pytest.raises(BadRequest, match=r"\(400 Bad Request\)"):
        await ask(llama.lm(grammar="root ::= nonsense ("), PROMPT)


async def test_a_server_that_is_down_is_tried_as_often_as_asked_and_named(ask, quick):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        async with quick.app():
            model = dspex.LM("openai/gemma", api_base=f"http://{address}/v1", cache=False, num_retries=2)
            with pytest.raises(Unavailable, match=rf"\[openai/gemma\].*{re.escape(address)}.*after 3 attempts"):
                await ask(model, PROMPT)
    assert len(quick.slept) == 2


async def busy_slots(llama) -> int:
    """Slots that generate, asked over a plain socket."""
    host, port = llama.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /slots HTTP/1.0\r\nAuthorization: Bearer {llama.key}\r\n\r\n".encode())
    body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    await writer.wait_closed()
    return sum(slot["is_processing"] for slot in msgspec.json.decode(body))


async def test_a_cancelled_stream_frees_the_servers_slot(llama, stream):
    async def read_on() -> None:
        async for _ in stream(llama.lm(max_tokens=400, ignore_eos=True), PROMPT):
            started.set()

    started = asyncio.Event()
    task = asyncio.create_task(read_on())
    await asyncio.wait_for(started.wait(), 10)
    assert await busy_slots(llama) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if not await busy_slots(llama):
            return
        await asyncio.sleep(0.02)
    pytest.fail("the slot is still busy")


def test_one_model_answers_in_loop_after_loop(llama, ask):
    model = llama.lm(max_tokens=1)
    assert len({asyncio.run(ask(model, PROMPT)).text for _ in range(3)}) == 1


async def test_earlier_turns_are_read(llama, ask):
    short = await ask(llama.lm(max_tokens=1), PROMPT)
    turns = [
        Message.of("system", "Be brief."),
        Message.of("user", "Hi"),
        Message.of("assistant", "Hello."),
        Message.of("user", PROMPT),
    ]
    assert (await ask(llama.lm(max_tokens=1), *turns)).usage.input_tokens > short.usage.input_tokens


async def test_the_responses_api_is_the_same_model(llama, ask, stream):
    model = llama.lm(model_type="responses")
    whole = await ask(model, PROMPT)
    came = [delta async for delta in stream(model, PROMPT)]
    assert "".join(delta.text for delta in came) == whole.text
    assert whole.usage.input_tokens == came[-1].usage.input_tokens > 5
    assert whole.model == "gemma-3-270m"


async def test_a_text_is_continued(llama, ask, stream):
    model = llama.lm(model_type="text", logprobs=2)
    whole = await ask(model, PROMPT)
    came = [delta async for delta in stream(model, PROMPT)]
    assert whole.text == "".join(delta.text for delta in came)
    assert len(whole.choices[0].logprobs["content"]) == whole.usage.output_tokens == 6
    assert (whole.choices[0].finish_reason, came[-1].usage.output_tokens) == ("length", 6)
