"""What cannot be done is refused with a reason, before it costs anything."""

import pytest

from dspex.plugin import BadRequest, ConfigurationError, ContextWindowExceeded, Endpoint, Image, LMRequest, Message
from dspex_llamacpp.provider import LlamaCppProvider


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"tools": ({"type": "function"},)}, r"'tools' \(capability: tools\)"),
        ({"tool_choice": "auto"}, r"'tool_choice' \(capability: tools\)"),
        ({"reasoning_effort": "low"}, r"'reasoning_effort' \(capability: reasoning\)"),
        ({"temperatur": 1}, r"'temperatur'.*It knows: .*temperature"),
        ({"temperature": "hot"}, r"Expected `float \| null`, got `str` - at `\$.temperature`"),
        ({"temperature": float("nan")}, r"\$.temperature"),
        ({"max_tokens": 0}, r"Expected `int` >= 1 - at `\$.max_tokens`"),
        ({"stop": ""}, "empty stop string"),
        ({"stop": ["a", ""]}, r"\$.stop\[1\]"),
        ({"response_format": {"type": "xml"}}, "response_format of type xml"),
        ({"grammar": "root ::= [a-z]", "schema": {"type": "object"}}, "exclude each other"),
        ({"grammar": "no grammar"}, "failed to parse grammar"),
        ({"text": "half a pair: \ud800"}, "no form that the engine can read"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_request_that_cannot_be_honoured_is_a_bad_request(model, ask, asked, why):
    with pytest.raises(BadRequest, match=why):
        await model.complete(ask(**asked))


async def test_a_picture_is_refused_by_name(model):
    message = Message("user", (Image("data:image/png;base64,AA=="),))
    with pytest.raises(BadRequest, match="capability: images"):
        await model.complete(LMRequest("gemma-3-270m", (message,)))


@pytest.mark.parametrize("asked", [{"n": 2}, {"logprobs": True}], ids=["n", "logprobs"])
async def test_a_stream_refuses_what_a_delta_cannot_hold(model, ask, asked):
    with pytest.raises(BadRequest, match=f"capability: {next(iter(asked))}"):
        [delta async for delta in model.stream(ask(**asked))]


async def test_a_prompt_beyond_the_context_says_how_long_it_is_and_what_to_do(model, ask):
    with pytest.raises(ContextWindowExceeded, match=r"has 4002 tokens.* opened for 1024.*LM\(\.\.\., context=\.\.\.\)"):
        await model.complete(ask("a b " * 2000))


@pytest.mark.parametrize(
    ("model", "options", "why"),
    [
        ("gemma-4", {}, "knows no model 'gemma-4'. By name: gemma-3-270m, smollm2-135m"),
        ("gemma-3-270m", {"slots": 0}, r"`int` >= 1 - at `\$.slots`"),
        ("gemma-3-270m", {"slot": 1}, "unknown field `slot`"),
        ("gemma-3-270m", {"deterministic": True, "slots": 2}, "deterministic=True needs slots=1"),
        ("gemma-3-270m", {"chat": False, "chat_template": "x"}, "exclude each other"),
    ],
    ids=["model", "slots", "typo", "deterministic", "chat"],
)
def test_a_wrong_name_or_option_is_a_configuration_error(model, options, why):
    with pytest.raises(ConfigurationError, match=why):
        LlamaCppProvider(Endpoint("llamacpp", model, options=options))


def test_api_base_is_refused_with_the_provider_that_has_a_use_for_it():
    with pytest.raises(ConfigurationError, match=r"LM\('openai/\.\.\.', api_base=\.\.\.\)"):
        LlamaCppProvider(Endpoint("llamacpp", "gemma-3-270m", "http://localhost:8080"))
