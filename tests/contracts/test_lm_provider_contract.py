"""The kits for providers of models: a good one passes all of its kit, and each kind of bad one fails the test that is about it."""

import asyncio
import json
import logging
import os
import threading
import time
from contextlib import aclosing

import aiohttp  # noqa: F401  the first call would load it
import msgspec
import pytest

import dspex
from dspex.plugin import (
    Audio,
    BadRequest,
    Capabilities,
    Choice,
    File,
    Image,
    LMDelta,
    LMError,
    LMResponse,
    PluginError,
    ProtocolError,
    Spec,
    ToolCall,
    ToolResult,
    Unavailable,
    Usage,
    decode_json,
    status_error,
)
from dspex.testing import LMInProcessContract, LMProviderContract, Recording
from dspex.testing.lm_asks import ASKS

LIMITS_S = (1.0, 0.4, 0.3)  # a whole test, a call, what should happen at once
CANNOT = ("audio", "files", "grammar", "images", "logprobs", "reasoning")
TESTS = [name for kit in (LMInProcessContract, LMProviderContract) for name in vars(kit) if name.startswith("test_")]


class Reply(msgspec.Struct):
    text: str = ""
    why: str | None = None
    call: list[str] | None = None
    tokens: list[int] | None = None
    error: object = None


class Good:
    """A wire of one field for each thing; the last piece of a stream has `why`."""

    capabilities = Capabilities(tools=True, json_schema=True, logprobs=False, grammar=False, images=False)

    def __init__(self, endpoint, http):
        self.endpoint, self.http = endpoint, http
        self.headers = {"authorization": f"Bearer {endpoint.api_key.reveal()}"} if endpoint.api_key else {}

    def body(self, request):
        kinds = {Image: "images", Audio: "audio", File: "files"}
        lacking = [kinds[type(part)] for turn in request.messages for part in turn.parts if type(part) in kinds]
        lacking += [name for name in ("grammar", "logprobs") if name in request.params]
        lacking += ["reasoning"] if "reasoning_effort" in request.params else []
        for name in lacking:
            raise BadRequest(f"This wire has no {name}.")
        more = {"tools": request.tools, "schema": request.schema, **request.params}
        return {"q": "".join(turn.text for turn in request.messages), "tools used": self.used(request), **more}

    def used(self, request):
        return [part for turn in request.messages for part in turn.parts if isinstance(part, (ToolCall, ToolResult))]

    def read(self, body):
        reply = decode_json(body, Reply)
        if reply.error is not None:
            raise status_error(self.endpoint, 200, {}, msgspec.json.encode({"error": reply.error}))
        return reply

    @staticmethod
    def calls(reply):
        return (ToolCall(*reply.call),) if reply.call else ()

    @staticmethod
    def usage(reply):
        return Usage(*reply.tokens) if reply.tokens else None

    async def complete(self, request):
        reply = self.read((await self.http.request("POST", "/ask", json=self.body(request), headers=self.headers)).body)
        if reply.why is None:
            raise ProtocolError("The reply has no end.", code="retry_once")
        return LMResponse((Choice(reply.text, self.calls(reply), reply.why),), self.usage(reply))

    async def stream(self, request):
        events = self.http.events("POST", "/ask", json=self.body(request), headers=self.headers)
        async with aclosing(events) as coming:
            async for event in coming:
                reply = self.read(event.data)
                yield LMDelta(reply.text, self.calls(reply), reply.why, self.usage(reply))
                if reply.why is not None:
                    return


def recorded(means, usage, *pieces):
    """A reply, and the same in pieces."""
    call = [[one.id, one.name, one.arguments] for one in means.tool_calls]
    last = {"text": "", "why": means.finish_reason, "tokens": [usage.input_tokens, usage.output_tokens]}
    last |= {"call": call[0]} if call else {}
    events = [*({"text": piece} for piece in pieces), last]
    whole = json.dumps({**last, "text": means.text}).encode()
    return Recording(whole, "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode(), means, usage)


def kit(provider, cannot=CANNOT):
    class Kit(LMProviderContract):
        model = "one"
        limit_s, timeout_s, soon_s = LIMITS_S if issubclass(provider, Bad) else (30.0, 5.0, 2.0)

        def spec(self):
            return Spec("acme", provider)

        def recordings(self):
            call = Choice("", (ToolCall("c1", "find", '{"a": 1}'),), "tool_calls")
            return {
                "text": recorded(Choice("Olé, you", (), "stop"), Usage(7, 3), "Olé", ", you"),
                "call": recorded(call, Usage(9, 5)),
            }

    Kit.cannot = cannot
    return Kit()


@pytest.mark.parametrize("name", TESTS)
def test_a_good_provider_passes(name):
    one = kit(Good)
    code = getattr(type(one), name).__code__
    values = {"fault": ("silence", "stream cut", "429, quota", "NaN"), "recording": one.recordings()}
    for value in values.get(code.co_varnames[1], [None]) if code.co_argcount > 1 else [None]:
        getattr(one, name)(*([] if value is None else [value]))


class Bad(Good):
    """For whom nobody waits long."""


class LosesTools(Bad):
    def body(self, request):
        return {name: value for name, value in super().body(request).items() if name != "tools"}


class TakesPicturesAndLosesThem(Bad):
    def body(self, request):
        return {"q": "".join(turn.text for turn in request.messages), **request.params, "tools": request.tools}


class DecodesByHand(Bad):
    def read(self, body):
        return Reply(**json.loads(body))


class TakesNaN(Bad):
    def read(self, body):
        given = json.loads(body)
        return Reply(**{name: value for name, value in given.items() if name in Reply.__struct_fields__})


class TakesAnErrorForAnAnswer(Bad):
    def read(self, body):
        return msgspec.structs.replace(decode_json(body, Reply), error=None, why="stop")


class TakesHalfAStreamForAWhole(Bad):
    async def stream(self, request):
        async for piece in super().stream(request):
            yield piece
            if piece.finish_reason:
                return
        yield LMDelta(finish_reason="stop")


class ForgetsTheCallsOfStreams(Bad):
    async def stream(self, request):
        async for piece in super().stream(request):
            yield msgspec.structs.replace(piece, tool_calls=())


class ForgetsTheUsageOfStreams(Bad):
    async def stream(self, request):
        async for piece in super().stream(request):
            yield msgspec.structs.replace(piece, usage=None)


class WaitsForTheSocketsEnd(Bad):
    async def stream(self, request):
        kept = [piece async for piece in self.whole(request)]
        for piece in kept:
            yield piece

    async def whole(self, request):
        events = self.http.events("POST", "/ask", json=self.body(request), headers=self.headers)
        async for event in events:
            reply = self.read(event.data)
            yield LMDelta(reply.text, self.calls(reply), reply.why, self.usage(reply))


class ShowsItsKey(Bad):
    def __repr__(self):
        return f"ShowsItsKey({self.headers})"


class PutsItsKeyIntoTheAddress(Bad):
    async def complete(self, request):
        reply = await self.http.request("POST", f"/ask?key={self.endpoint.api_key.reveal()}", json=self.body(request))
        return LMResponse((Choice(self.read(reply.body).text),))


class SendsNoKey(Bad):
    def __init__(self, endpoint, http):
        super().__init__(endpoint, http)
        self.headers = {}


class GoesOnWhenCancelled(Bad):
    async def complete(self, request):
        return await asyncio.shield(asyncio.ensure_future(super().complete(request)))


class OneAtATime(Bad):
    def __init__(self, endpoint, http):
        super().__init__(endpoint, http)
        self.turn = asyncio.Semaphore(10)

    async def complete(self, request):
        async with self.turn:
            return await super().complete(request)


class BoundToOneLoop(Bad):
    loop = None

    async def complete(self, request):
        self.loop = self.loop or asyncio.get_running_loop()
        assert self.loop is asyncio.get_running_loop()
        return await super().complete(request)


class LocksInOneProcess(Bad):
    process = None

    async def complete(self, request):
        self.process = self.process or os.getpid()
        if self.process != os.getpid():
            raise Unavailable("The connection is the parent's.")
        return await super().complete(request)


class LeavesAThread(Bad):
    async def complete(self, request):
        threading.Thread(target=time.sleep, args=(4,), daemon=True, name="left").start()
        return await super().complete(request)


class CannotBeClosedFresh(Bad):
    async def aclose(self):
        await self.opened.aclose()


class SendsTheLastTurnOnly(Bad):
    def body(self, request):
        return {**super().body(request), "q": request.messages[-1].text}


class SendsTurnsBackwards(Bad):
    def body(self, request):
        return {**super().body(request), "q": "".join(turn.text for turn in request.messages[::-1])}


class ForgetsToolTurns(Bad):
    def used(self, request):
        return []


class TriesAgain(Bad):
    async def complete(self, request):
        try:
            return await super().complete(request)
        except Unavailable:
            return await super().complete(request)


class KeepsReplies(Bad):
    kept = None

    async def complete(self, request):
        self.kept = self.kept or await super().complete(request)
        return self.kept


class ChangesTheRequest(Bad):
    def body(self, request):
        made = super().body(request)
        request.params["temperature"] = 1.0
        return made


class LogsItsKey(Bad):
    async def complete(self, request):
        logging.getLogger("acme").debug("asking with %s", self.headers)
        return await super().complete(request)


class HoldsTheLoop(Bad):
    async def complete(self, request):
        time.sleep(0.2)  # noqa: ASYNC251  that is the fault
        return await super().complete(request)


class HoldsTheLoopInStreams(Bad):
    async def stream(self, request):
        time.sleep(0.2)  # noqa: ASYNC251  as above
        async for piece in super().stream(request):
            yield piece


class ClaimsBatches(Bad):
    capabilities = msgspec.structs.replace(Good.capabilities, batch=True)


class ClaimsPictures(Bad):
    capabilities = Capabilities(images=True)


@pytest.mark.parametrize(
    ("provider", "about", "value"),
    [
        (LosesTools, "what_is_asked_is_sent", None),
        (TakesPicturesAndLosesThem, "what_it_cannot_do", None),
        (TakesPicturesAndLosesThem, "what_is_refused_is_not_sent", None),
        (DecodesByHand, "fault_ends_as_it_says", "JSON cut off"),
        (TakesAnErrorForAnAnswer, "fault_ends_as_it_says", "error in a reply"),
        (WaitsForTheSocketsEnd, "fault_ends_as_it_says", "open after its end"),
        (TakesHalfAStreamForAWhole, "cut_at_any_byte", "text"),
        (TakesAnErrorForAnAnswer, "cut_at_any_byte", "text"),
        (ForgetsTheCallsOfStreams, "recorded_stream", "call"),
        (ForgetsTheUsageOfStreams, "whole_reply_in_pieces", None),
        (ForgetsTheUsageOfStreams, "recorded_stream", "text"),
        (ShowsItsKey, "key_is_not_shown", None),
        (PutsItsKeyIntoTheAddress, "in_no_error", None),
        (SendsNoKey, "in_no_error", None),
        (GoesOnWhenCancelled, "closes_its_connection", None),
        (WaitsForTheSocketsEnd, "stops_early", None),
        (OneAtATime, "in_flight_together", None),
        (BoundToOneLoop, "several_loops", None),
        (LocksInOneProcess, "forked_child", None),
        (LeavesAThread, "nothing_of_it_is_left", None),
        (CannotBeClosedFresh, "let_go_before", None),
        (SendsTheLastTurnOnly, "sent_whole_and_in_order", None),
        (SendsTurnsBackwards, "sent_whole_and_in_order", None),
        (ForgetsToolTurns, "asked_and_gave", None),
        (TriesAgain, "one_request", None),
        (KeepsReplies, "one_request", None),
        (ChangesTheRequest, "what_it_can_do_is_answered", None),
        (LogsItsKey, "in_no_error", None),
        (HoldsTheLoop, "holds_no_loop", None),
        (HoldsTheLoopInStreams, "holds_no_loop", None),
        (ClaimsBatches, "capabilities_are", None),
        (ClaimsPictures, "capabilities_are", None),
    ],
)
def test_a_bad_provider_fails_the_test_that_is_about_it(provider, about, value):
    [name] = [name for name in TESTS if about in name]
    with pytest.raises((AssertionError, AttributeError, LMError, PluginError, TimeoutError)):
        getattr(kit(provider), name)(*([] if value is None else [value]))


def test_what_a_client_of_anothers_bears_is_no_fault_of_the_provider_but_only_where_it_is_said_why():
    name = "test_a_fault_ends_as_it_says_and_the_next_call_is_a_good_one"
    one = kit(TakesNaN)
    for bears in ({}, {"NaN": ""}):
        one.bears = bears
        with pytest.raises(AssertionError):
            getattr(one, name)("NaN")
    one.bears = {"NaN": "its client reads NaN"}
    getattr(one, name)("NaN")
    one.bears = {"JSON cut off": "its client raises what it likes"}
    with pytest.raises((AssertionError, dspex.PluginError)):  # that is no error of ours
        getattr(one, name)("JSON cut off")


def test_in_process_the_same_is_held_without_a_wire():
    class Kit(LMInProcessContract):
        cannot = frozenset(ASKS) - {"temperature"}
        tells_usage = False

        def spec(self):
            return Spec("parrot", Parrot)

    for name in TESTS:
        if name in vars(LMInProcessContract):
            getattr(Kit(), name)()


class Parrot:
    """Needs no server."""

    def __init__(self, endpoint, http):
        pass

    async def complete(self, request):
        lacking = [name for name, ask in ASKS.items() if name != "temperature" and asks_for(request, ask)]
        if lacking:
            raise BadRequest(f"A parrot has no {lacking[0]}.")
        return LMResponse((Choice(request.messages[-1].text),) * request.n)


def asks_for(request, ask):
    same = [ask.tools and request.tools, ask.schema and request.schema, ask.params.keys() & request.params.keys()]
    return any(same) or any(part in request.messages[0].parts for part in ask.parts)
