"""The kit of a mock that others wrote: a provider that does as it says passes, and each that does not fails the test about it."""

from types import SimpleNamespace

import msgspec
import pytest

import dspex
from dspex.plugin import Choice, LMDelta, LMResponse, ProtocolError, RateLimited, ToolCall, Unavailable, Usage, to_turns
from dspex.testing import WireMockContract
from dspex.testing.wire_mock_contract import TEXT

TESTS = [name for name in vars(WireMockContract) if name.startswith("test_")]
ANSWERS = {
    "plain": Choice(TEXT, (), "stop"),
    "tool": Choice("Let me look.", (ToolCall("1", "look_up", '{"city":"Oslo","days":2}'),), "tool_calls"),
    "think": Choice("Four.", (), "stop", None, "Two and two."),
}
FAULTS = {"slow": RateLimited, "broken": ProtocolError, "gone": Unavailable}


class Good:
    """Says what the mock would, and notes what it was asked as the mock does."""

    journal = ()

    def told(self, request):
        said = request.messages[-1].text
        if said in FAULTS:
            raise FAULTS[said]("no")
        tools = [{"type": "function", "function": dict(tool)} for tool in request.tools]
        body = {"messages": to_turns(request.messages), "tools": tools, **request.params}
        type(self).journal = ({"body": msgspec.json.decode(msgspec.json.encode(body))},)
        return ANSWERS[said]

    async def complete(self, request):
        return LMResponse((self.told(request),), Usage(9, 8))

    async def stream(self, request):
        choice = self.told(request)
        for start in range(0, len(choice.text), 8):
            yield LMDelta(choice.text[start : start + 8])
        yield LMDelta("", choice.tool_calls, choice.finish_reason, Usage(9, 8), choice.reasoning)


class LosesTheEnd(Good):
    async def complete(self, request):
        reply = await super().complete(request)
        return msgspec.structs.replace(
            reply, choices=(msgspec.structs.replace(reply.choices[0], text=reply.text[:-1]),)
        )


class LosesCalls(Good):
    def told(self, request):
        return msgspec.structs.replace(super().told(request), tool_calls=())


class SaysWhatItThinks(Good):
    def told(self, request):
        choice = super().told(request)
        return msgspec.structs.replace(choice, text=(choice.reasoning or "") + choice.text, reasoning=None)


class LosesParameters(Good):
    def told(self, request):
        return super().told(msgspec.structs.replace(request, params={}))


class AnswersFaults(Good):
    def told(self, request):
        return Choice("x", (), "stop") if request.messages[-1].text in FAULTS else super().told(request)


def run(provider, name):
    class Kit(WireMockContract):
        def lm(self, url):
            return dspex.LM("mocked/one", provider=provider(), cache=False, num_retries=0)

    getattr(Kit(), name)(SimpleNamespace(url="", journal=lambda: list(provider.journal)))


@pytest.mark.parametrize("name", TESTS)
def test_a_good_provider_passes(name):
    run(Good, name)


BAD = {
    "test_a_reply_is_the_same_whole_and_in_pieces": LosesTheEnd,
    "test_a_call_is_the_same_whole_and_in_pieces": LosesCalls,
    "test_thoughts_are_told_apart": SaysWhatItThinks,
    "test_what_is_sent_is_read_as_it_is_meant": LosesParameters,
    "test_faults_are_told_by_their_classes": AnswersFaults,
}


@pytest.mark.parametrize("name", TESTS)
def test_each_test_can_fail(name):
    with pytest.raises((AssertionError, ValueError)):
        run(BAD[name], name)
