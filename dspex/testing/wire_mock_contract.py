"""What a provider must make of a mock of its vendor's wire that somebody else wrote, as tests that a plugin's own class inherits."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from dspex.app.app import App
from dspex.app.lm import LM
from dspex.core.errors import LMError, ProtocolError, RateLimited, Unavailable
from dspex.core.messages import LMDelta, Message, ToolCall, ToolResult
from dspex.core.usage import Usage
from dspex.testing.asking import ask, pieces
from dspex.testing.wire_mock import WireMock

TEXT = "Write the word café and a smile 😀."
TOOL = MappingProxyType(
    {"name": "look_up", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
)
# What the mock answers, by what the last turn of a user says.
MOCKED = (
    {
        "match": {"userMessage": "plain"},
        "response": {"content": TEXT, "usage": {"prompt_tokens": 9, "completion_tokens": 8}},
    },
    {
        "match": {"userMessage": "tool"},
        "response": {
            "content": "Let me look.",
            "toolCalls": [{"name": "look_up", "arguments": {"city": "Oslo", "days": 2}}],
        },
    },
    {"match": {"userMessage": "think"}, "response": {"content": "Four.", "reasoning": "Two and two."}},
    {
        "match": {"userMessage": "slow"},
        "response": {"error": {"message": "no", "type": "rate_limit_error"}, "status": 429},
    },
    {"match": {"userMessage": "broken"}, "response": {"content": "x"}, "chaos": {"malformedRate": 1}},
    {"match": {"userMessage": "gone"}, "response": {"content": "x"}, "chaos": {"disconnectRate": 1}},
)
TURNS = (
    Message.of("system", "You are a parrot."),
    Message.of("user", "Where?"),
    Message("assistant", (ToolCall("call_0", "look_up", '{"city": "Oslo"}'),)),
    Message("tool", (ToolResult("call_0", "rain"),)),
    Message.of("user", "plain"),
)


class WireMockContract:
    """Subclass it as `TestMine`, give `lm`, and have a fixture `mock` that gives a WireMock of MOCKED.

    `roles` are those of TURNS as the mock reads them back out of the vendor's form; `sent` is what of the parameters it shows.
    `faults` are the classes that what the mock does wrong may end in. `tells_usage` False: the mock's wire counts no tokens.
    """

    roles: tuple[str, ...] = ("system", "user", "assistant", "tool", "user")
    sent: Mapping[str, Any] = MappingProxyType({"temperature": 0.25})
    faults: Mapping[str, tuple[type[LMError], ...]] = MappingProxyType(
        {"slow": (RateLimited,), "broken": (ProtocolError,), "gone": (Unavailable, ProtocolError)}
    )
    tells_usage = True

    def lm(self, url: str) -> LM:
        """A model behind the mock at `url`; without a cache, and without a second attempt."""
        raise NotImplementedError

    def live(self, mock: WireMock, work: Callable[[LM], Awaitable[None]]) -> None:
        """Run `work(lm)` in an App of its own."""

        async def life() -> None:
            async with App():
                await work(self.lm(mock.url))

        asyncio.run(life())

    def test_a_reply_is_the_same_whole_and_in_pieces(self, mock: WireMock) -> None:
        async def work(lm: LM) -> None:
            got, came = await ask(lm, "plain"), await streamed(lm, "plain")
            assert got.text == text_of(came) == TEXT
            assert got.usage == came[-1].usage
            assert not self.tells_usage or got.usage == Usage(9, 8)
            assert len(came) > 3

        self.live(mock, work)

    def test_a_call_is_the_same_whole_and_in_pieces(self, mock: WireMock) -> None:
        async def work(lm: LM) -> None:
            got, came = await ask(lm, "tool", tools=(dict(TOOL),)), await streamed(lm, "tool")
            for [call] in (got.choices[0].tool_calls, came[-1].tool_calls):
                assert (call.name, call.arguments) == ("look_up", '{"city":"Oslo","days":2}')
            assert got.choices[0].finish_reason == came[-1].finish_reason == "tool_calls"

        self.live(mock, work)

    def test_thoughts_are_told_apart(self, mock: WireMock) -> None:
        async def work(lm: LM) -> None:
            [choice] = (await ask(lm, "think")).choices
            came = await streamed(lm, "think")
            assert choice.reasoning == "".join(piece.reasoning or "" for piece in came) == "Two and two."
            assert choice.text == text_of(came) == "Four."

        self.live(mock, work)

    def test_what_is_sent_is_read_as_it_is_meant(self, mock: WireMock) -> None:
        async def work(lm: LM) -> None:
            await ask(lm, *TURNS, tools=(dict(TOOL),), **self.sent)
            body = mock.journal()[-1]["body"]
            assert tuple(message["role"] for message in body["messages"]) == self.roles
            assert body["messages"][2]["tool_calls"][0]["function"]["name"] == "look_up"
            assert body["tools"][0]["function"]["name"] == "look_up"
            assert {name: body.get(name) for name in self.sent} == self.sent

        self.live(mock, work)

    def test_faults_are_told_by_their_classes(self, mock: WireMock) -> None:
        async def work(lm: LM) -> None:
            for said, kinds in self.faults.items():
                for way in (ask, streamed):
                    try:
                        # An endpoint of its own: the mock's headers ask to leave this one alone for minutes.
                        await way(lm.copy(headers={"x-way": f"{said} {way.__name__}"}), said)
                    except kinds:
                        continue
                    raise AssertionError(f"{said}: an answer came of it")

        self.live(mock, work)


async def streamed(lm: LM, said: str) -> list[LMDelta]:
    """A stream, read to its end."""
    return [piece async for piece in pieces(lm, said)]


def text_of(came: list[LMDelta]) -> str:
    """The text of a stream."""
    return "".join(piece.text for piece in came)
