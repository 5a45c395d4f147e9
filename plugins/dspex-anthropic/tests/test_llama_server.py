"""Against llama.cpp's own HTTP server, which speaks the messages API: the wire as somebody else has it."""

import asyncio

import pytest

from dspex.plugin import AuthError, ContextWindowExceeded, Message, ToolCall, ToolResult

PROMPT = "The capital of France is"
TOOL = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
}


async def test_a_reply_has_text_usage_and_the_servers_name_for_the_model(llama, ask):
    reply = await ask(llama.lm(), PROMPT)
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.input_tokens > 5
    assert 0 < reply.usage.output_tokens <= 6
    assert not reply.usage.estimated
    assert reply.model == "gemma-3-270m"


async def test_a_stream_is_the_whole_reply_in_pieces(llama, ask, stream):
    model = llama.lm(max_tokens=12)
    _, whole = (
        await ask(model, PROMPT),
        await ask(model, PROMPT),
    )  # the second reads its prompt from the server's cache, too
    deltas = [delta async for delta in stream(model, PROMPT)]
    assert "".join(delta.text for delta in deltas) == whole.text
    assert len(deltas) > 2
    last, usage = deltas[-1], whole.usage
    assert (last.finish_reason, last.usage.output_tokens) == ("length", usage.output_tokens)
    assert last.usage.input_tokens == usage.input_tokens, "what its cache held is counted too, either way"


async def test_what_the_server_had_in_its_cache_is_told(llama, ask):
    model = llama.lm(max_tokens=1)
    prompt = "Tell me of the sea, of ships, of rain and of the wind."
    first, again = [await ask(model, prompt) for _ in range(2)]
    assert again.usage.cached_tokens > first.usage.cached_tokens
    assert again.usage.input_tokens == first.usage.input_tokens


async def test_a_system_message_and_marks_for_the_cache_are_read(llama, ask):
    turns = [Message.of("system", "You are a parrot."), Message.of("user", "Hi"), Message.of("assistant", "Hello.")]
    short, long = await ask(llama.lm(), PROMPT), await ask(llama.lm(cache_prefix="5m"), *turns, PROMPT)
    assert long.usage.input_tokens > short.usage.input_tokens


async def test_turns_of_calls_and_their_results_are_read(llama, ask):
    turns = [
        Message.of("user", "What is 1 + 1?"),
        Message("assistant", (ToolCall("toolu_1", "add", '{"x": 1}'),)),
        Message("tool", (ToolResult("toolu_1", "2"),)),
    ]
    assert (await ask(llama.lm(), *turns, tools=(TOOL,), tool_choice="auto")).usage.output_tokens > 0


async def test_a_stop_string_ends_the_reply(llama, ask):
    _, whole = await ask(llama.lm(), PROMPT), await ask(llama.lm(), PROMPT)
    stopped = await ask(llama.lm(), PROMPT, stop=whole.text[1:3])
    assert (stopped.text, stopped.choices[0].finish_reason) == (whole.text[:1], "stop")


async def test_several_completions_are_as_many_requests(llama, ask):
    assert len((await ask(llama.lm(temperature=1.0), PROMPT, n=2)).choices) == 2


async def test_a_wrong_key_is_named_by_its_source_and_not_shown(llama, ask):
    with pytest.raises(AuthError, match=r"refuses the key from api_key=") as caught:
        await ask(llama.lm(api_key="sk-wrong-0123456789"), PROMPT)
    assert "0123456789" not in str(caught.value)


async def test_a_prompt_that_is_too_long_is_told_apart(llama, ask):
    with pytest.raises(ContextWindowExceeded, match="512"):
        await ask(llama.lm(), "word " * 2000)


async def test_a_cancelled_stream_ends_at_once(llama, stream):
    async def read_on() -> None:
        async for _ in stream(llama.lm(max_tokens=400), "Count on from one, for ever: one two three four"):
            started.set()

    started = asyncio.Event()
    task = asyncio.create_task(read_on())
    await asyncio.wait_for(started.wait(), 10)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=2)
    assert done
    assert task.cancelled()
