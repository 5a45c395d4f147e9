"""The plugin as its users meet it."""

import pytest

import dspex
import dspex_echo
from dspex.plugin import BadRequest, Endpoint, LMRequest, Message
from dspex.testing import ASKS, LMInProcessContract
from dspex_echo.provider import HONOURED, EchoProvider

ENDPOINT = Endpoint("echo", "any")


def test_an_lm_named_echo_answers_with_what_it_was_asked():
    assert dspex.LM("echo/any")("Is anybody there?") == ["Is anybody there?"]


async def test_the_last_user_message_is_the_answer():
    turns = (Message.of("user", "first"), Message.of("assistant", "yes"), Message.of("user", "second one"))
    reply = await EchoProvider(ENDPOINT, None).complete(LMRequest("any", turns, n=2))
    assert [choice.text for choice in reply.choices] == ["second one", "second one"]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (4, 4)


async def test_an_answer_beyond_max_tokens_is_cut():
    reply = await EchoProvider(ENDPOINT, None).complete(
        LMRequest("any", (Message.of("user", "one two three"),), {"max_tokens": 2})
    )
    assert (reply.text, reply.choices[0].finish_reason) == ("one two", "length")


@pytest.mark.parametrize(
    "request_",
    [
        LMRequest("any", (Message.of("user", "hi"),), tools=({"type": "function"},)),
        LMRequest("any", (Message.of("user", "hi"),), schema={"type": "object"}),
        LMRequest("any", (Message.of("system", "be kind"),)),
    ],
    ids=["tools", "schema", "no-user-message"],
)
async def test_what_an_echo_cannot_do_is_refused(request_):
    with pytest.raises(BadRequest, match=r"call it without|no user message"):
        await EchoProvider(ENDPOINT, None).complete(request_)


class TestEcho(LMInProcessContract):
    cannot = tuple(ASKS.keys() - HONOURED)

    def spec(self):
        return dspex_echo.dspex_lm_providers()[0]
