"""What a provider must do that calls models over HTTP, good days and bad, as tests that a plugin's own test class inherits."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.app.lm import LM
from dspex.core.errors import LMError, LMTimeout, ProtocolError, Unavailable
from dspex.core.messages import Choice, LMDelta, LMRequest, LMResponse, Message, Text, Thought, ToolCall, ToolResult
from dspex.service.pieces import whole
from dspex.testing.conduct import holder, logged
from dspex.testing.fault_ends import LATER_S, TIMEOUT_S, check_error, in_time
from dspex.testing.fault_server import FaultServer
from dspex.testing.faults import FAULTS, SSE, StreamForm, chunked
from dspex.testing.lm_asks import ASKS, Ask
from dspex.testing.lm_contract import LMInProcessContract, refusal
from dspex.testing.one_plugin import KEY
from dspex.testing.recordings import PlayedHttp, Recording

MANY = 50
CONVERSATION = (("system", "Rules"), ("user", "Opening"), ("assistant", "Answer"), ("user", "Question"))


class LMProviderContract(LMInProcessContract):
    """The contract of `LMInProcessContract`, held over a server that answers with recorded bytes, and that of the wire.

    Subclass it as `TestMine` and give `spec` and `recordings`, the first of which is a plain text. `base_path` is what
    `api_base` has behind the host, `stream_form` how it writes streams. `sends_key` False: requests are signed by the key, or the service knows none. Faults come
    from `FaultServer`, each in its own test; `timeout_s` ends a call that none of them should delay.

    A provider that calls by a client of somebody else's may be unable to hold all of it: `bears` names the faults that this client
    meets in its own way, each with the reason. There a call ends as it likes, but in time, as one of our errors or with the
    whole answer, and without the key. `stride` is how many bytes lie between two cuts of a stream: more where a call is slow.
    """

    bears: Mapping[str, str] = MappingProxyType({})
    stride = 1
    base_path = ""
    stream_form: StreamForm = SSE
    sends_key = True
    timeout_s = 5.0

    def recordings(self) -> Mapping[str, Recording]:
        """Good replies by name: a text, and one for each thing that a reply can hold beside it (calls, reasoning ...)."""
        raise NotImplementedError

    def raises(self, fault: str) -> tuple[type[LMError], ...]:
        """What a call may end in under a fault of FAULTS; empty where the answer arrives all the same."""
        return FAULTS[fault].raises

    @property
    def text(self) -> Recording:
        """The plain text."""
        return next(iter(self.recordings().values()))

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test a fault, and one a recording."""
        for name, values in (("fault", FAULTS), ("recording", self.recordings())):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, list(values))

    # Running

    @contextmanager
    def served(self, *, streams: bool = False) -> Iterator[Mapping[str, Any]]:
        """A server that answers each request with the plain text."""
        with FaultServer() as server:
            self.answer(server, streams=streams)
            yield self.place(server)

    def answer(self, server: FaultServer, *, streams: bool = False, **how: Any) -> None:
        """Let it answer with the plain text from now on."""
        if streams:
            server.then_stream(self.text.events, self.stream_form, **{"times": None, **how})
        else:
            server.then(200, self.text.reply, headers={"Content-Type": "application/json"}, **{"times": None, **how})

    def place(self, server: FaultServer) -> dict[str, Any]:
        """Keywords of LM for a model behind that server."""
        return {"api_base": f"{server.url}{self.base_path}", "api_key": KEY}

    def wire(self, reply: bytes, events: bytes = b"", breaks: LMError | None = None) -> PlayedHttp:
        """A wire that plays these bytes."""
        return PlayedHttp(reply, events, breaks, self.stream_form.content_type)

    def played(self, http: PlayedHttp) -> Any:
        """The provider over recorded bytes."""
        return self.provider(http, f"http://127.0.0.1:9{self.base_path}")

    async def streamed(self, http: PlayedHttp, request: LMRequest) -> LMResponse:
        """A stream as a whole. Raises as the service does where it ends without a reason to."""
        pieces: list[LMDelta] = []
        try:
            async with aclosing(self.played(http).stream(request)) as coming:
                async for piece in coming:
                    pieces.append(piece)  # noqa: PERF401  what came before an error must stand
        except LMError as error:
            error.partial = "".join(piece.text for piece in pieces) or error.partial
            raise
        if not pieces or pieces[-1].finish_reason is None:
            raise ProtocolError("The stream ended before its last piece.")
        reply = whole(pieces)
        _check_foretold(pieces, reply.choices[0].tool_calls)
        return reply

    # The contract: what comes

    def test_a_recorded_reply_is_read_as_what_it_means(self, recording: str) -> None:
        one = self.recordings()[recording]
        request = one.asks.request(self.model, self.question)
        reply = asyncio.run(self.played(self.wire(one.reply)).complete(request))
        assert [told(choice) for choice in reply.choices] == [told(one.means)]
        assert reply.usage == one.usage

    def test_a_recorded_stream_is_read_as_what_it_means(self, recording: str) -> None:
        one = self.recordings()[recording]
        request = one.asks.request(self.model, self.question)
        reply = asyncio.run(self.streamed(self.wire(b"", one.events), request))
        assert [told(choice) for choice in reply.choices] == [told(one.means)]
        assert reply.usage == one.usage

    def test_a_stream_cut_at_any_byte_is_the_whole_answer_or_an_error(self, recording: str) -> None:
        one = self.recordings()[recording]
        request = one.asks.request(self.model, self.question)

        async def ends() -> list[str]:
            wrong = []
            for cut in range(0, len(one.events), self.stride):
                for breaks in (None, ProtocolError("The reply broke off."), Unavailable("The connection broke.")):
                    fault = await self.cut_off(self.wire(b"", one.events[:cut], breaks), request, one.means)
                    wrong += [f"cut at byte {cut}: {fault}"] if fault else []
            return wrong

        assert not (wrong := asyncio.run(ends())), "\n".join(wrong[:10])

    async def cut_off(self, http: PlayedHttp, request: LMRequest, means: Choice) -> str:
        """What is wrong with the end of a stream that was cut, if anything."""
        try:
            reply = await self.streamed(http, request)
        except (ProtocolError, Unavailable) as error:
            came = error.partial or ""
            return "" if means.text.startswith(came) else f"{came!r} came, which is not how the answer begins"
        except Exception as error:  # noqa: BLE001  whatever a provider raises that it should not
            return f"{type(error).__name__} instead of a ProtocolError: {error}"
        got = told(reply.choices[0])
        return "" if got == told(means) else f"half an answer is taken for a whole one: {got}"

    def test_a_whole_reply_in_place_of_a_stream_is_the_answer(self) -> None:
        async def work(lm: LM) -> None:
            pieces = [piece async for piece in lm.stream(self.asked(lm))]
            assert told(whole(pieces).choices[0]) == told(self.text.means)

        self.live(work)  # the server answers with a whole reply, whatever is asked

    # What is sent

    def test_what_is_asked_is_sent(self) -> None:
        lost = [name for name, ask in ASKS.items() if name not in self.cannot and not self.is_sent(ask)]
        assert not lost, "neither refused nor sent"

    def is_sent(self, ask: Ask) -> bool:
        """Whether a request has the words that it cannot do without, both whole and streamed."""
        http = self.wire(self.text.reply, self.text.events)
        request = ask.request(self.model, self.question)
        asyncio.run(self.played(http).complete(request))
        asyncio.run(self.streamed(http, request))
        # A wire in camel case has `responseLogprobs`.
        bodies = [body.lower() for body in http.sent]
        return all(word.lower() in body for word in (*ask.sent, self.question) for body in bodies)

    def test_what_another_model_thought_is_left_out(self) -> None:
        if "tools" in self.cannot:  # thoughts come with calls
            return
        http = self.wire(self.text.reply, self.text.events)
        asked = Ask().request(self.model, self.question)
        said = Message("assistant", (Thought("its thoughts, sealed", "nobody/nothing"), Text("Yes.")))
        request = msgspec.structs.replace(asked, messages=(*asked.messages, said, *asked.messages))
        asyncio.run(self.played(http).complete(request))
        asyncio.run(self.streamed(http, request))
        assert all("Yes." in body and "sealed" not in body for body in http.sent)

    def test_a_conversation_is_sent_whole_and_in_order(self) -> None:
        http = self.wire(self.text.reply, self.text.events)
        turns = tuple(Message.of(role, f"{word} of the {role}") for role, word in CONVERSATION)
        request = LMRequest(self.model, turns)
        asyncio.run(self.played(http).complete(request))
        asyncio.run(self.streamed(http, request))
        for body in http.sent:
            places = [body.find(f"{word} of the {role}") for role, word in CONVERSATION]
            assert -1 not in places, "turns of the conversation are not sent"
            assert places[1:] == sorted(places[1:]), "the turns are sent in another order"

    def test_what_tools_were_asked_and_gave_is_sent(self) -> None:
        if "tools" in self.cannot:
            return
        call = ToolCall("call_77", "find_capital", '{"country": "Norway"}')
        asked, gave = Message("assistant", (call,)), Message("tool", (ToolResult("call_77", "Oslo it is"),))
        request = ASKS["tools"].request(self.model, self.question)
        http = self.wire(self.text.reply, self.text.events)
        turns = msgspec.structs.replace(request, messages=(*request.messages, asked, gave))
        asyncio.run(self.played(http).complete(turns))
        asyncio.run(self.streamed(http, turns))
        for body in http.sent:
            lost = [word for word in ("find_capital", "Norway", "Oslo it is") if word not in body]
            assert not lost, f"of a call of a tool and its result, {lost} is not sent"

    def test_one_call_is_one_request(self) -> None:
        with FaultServer() as server:

            async def work(lm: LM) -> None:
                self.answer(server)
                for number in (1, 2):
                    await lm.complete(self.asked(lm))
                    assert len(server.requests) == number, "it keeps replies of its own, or asks for more than one"
                server.then(503, times=None)
                for number, call in ((3, self.complete), (4, self.pieces)):
                    [met] = await asyncio.gather(call(lm), return_exceptions=True)
                    assert isinstance(met, Unavailable), f"503 became {met!r}"
                    assert len(server.requests) == number, (
                        "it tries again by itself: that is dspex's to do, and to count"
                    )

            self.served_by(server, work)

    def test_what_is_refused_is_not_sent(self) -> None:
        for name in self.cannot:
            http = self.wire(self.text.reply, self.text.events)
            request = ASKS[name].request(self.model, self.question)
            for call in (self.played(http).complete, partial(self.streamed, http)):
                said = asyncio.run(refusal(call(request)))
                assert name in said, f"{name}: {said or 'taken, and not honoured'}"
            assert not http.sent, name

    def test_the_key_travels_in_a_header_only_and_is_in_no_error(self) -> None:
        errors: list[str] = []
        with FaultServer() as server:

            async def work(lm: LM) -> None:
                for status in (400, 401, 429, 500):
                    server.then(status, json={"error": {"message": f"The key {KEY} is wrong."}})
                    try:
                        await lm.complete(self.asked(lm))
                    except LMError as error:
                        errors.append(f"{error} {error!r} {vars(error)} {error.__cause__!r} {error.__context__!r}")
                errors.append(repr(lm))

            with logged() as lines:
                self.served_by(server, work)
            assert len(errors) == 5
            assert not [text for text in errors if KEY in text], "the key is shown"
            assert not [line for line in lines if KEY in line], "the key stands in a log"
            sent = [KEY in " ".join(seen.headers.values()) for seen in server.requests]
            assert sent == [self.sends_key] * len(sent), "whether the key is sent is not as `sends_key` says"
            assert not [seen for seen in server.requests if KEY in seen.path or KEY.encode() in seen.body]

    # Who stops, and how many come at once

    def served_by(self, server: FaultServer, work: Any, **more: Any) -> None:
        """Run `work(lm)` against a server that the test scripts itself."""
        assert not asyncio.run(self.life(work, {**self.place(server), **more})), "tasks go on"

    def test_a_cancelled_call_closes_its_connection(self) -> None:
        with FaultServer() as server:

            async def work(lm: LM) -> None:
                for streams in (False, True):
                    server.then_raw(end="hang")
                    asking = self.pieces(lm) if streams else lm.complete(self.asked(lm))
                    task = asyncio.ensure_future(asking)
                    assert await asyncio.to_thread(server.wait, lambda s: len(s.requests) > s.closed)
                    task.cancel()
                    done, _ = await asyncio.wait([task], timeout=self.soon_s)
                    assert done, "cancelled, it went on"
                    assert task.cancelled(), "it made something else of its cancellation"
                    assert await asyncio.to_thread(server.wait, lambda s: s.closed == s.connections, self.soon_s)

            self.served_by(server, work)

    async def pieces(self, lm: LM) -> list[LMDelta]:
        """A stream, read to its end."""
        return [piece async for piece in lm.stream(self.asked(lm))]

    def test_a_reader_that_stops_early_closes_the_request(self) -> None:
        with FaultServer() as server:

            async def work(lm: LM) -> None:
                events = self.stream_form.events(self.text.events)
                server.then_raw(self.stream_form.head, *map(chunked, events[:-1]), end="hang")
                coming = lm.stream(self.asked(lm))
                assert (await anext(coming)).finish_reason is None
                await coming.aclose()
                assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, self.soon_s), (
                    "the request stays open"
                )

            self.served_by(server, work)

    def test_many_calls_are_in_flight_together(self) -> None:
        with FaultServer() as server:

            async def work(lm: LM) -> None:
                self.answer(server, times=MANY, gather=MANY)
                replies = await asyncio.gather(*(lm.complete(self.asked(lm)) for _ in range(MANY)))
                assert len(replies) == MANY

            self.served_by(server, work, timeout=self.timeout_s)

    def test_it_holds_no_loop(self) -> None:
        with FaultServer() as server:

            async def work(lm: LM) -> None:
                for streams in (False, True):
                    self.answer(server, streams=streams)
                    call = partial(self.pieces, lm) if streams else partial(self.complete, lm)
                    await call()  # the first loads what it needs
                    held = await holder(call)
                    assert not held, held

            self.served_by(server, work)

    async def complete(self, lm: LM) -> LMResponse:
        """A whole reply."""
        return await lm.complete(self.asked(lm))

    # Faults

    def test_a_fault_ends_as_it_says_and_the_next_call_is_a_good_one(self, fault: str) -> None:
        streams, raises = FAULTS[fault].streams, self.raises(fault)
        seconds = TIMEOUT_S if LMTimeout in raises else self.timeout_s
        borne = fault in self.bears
        assert not borne or self.bears[fault], "why it is met otherwise is not said"
        with FaultServer() as server:

            async def work(lm: LM) -> None:
                self.answer(server)
                assert (await lm.complete(self.asked(lm))).text  # the first call loads what it needs
                server.then_fault(
                    fault, self.text.events if streams else self.text.reply, times=None, form=self.stream_form
                )
                # An endpoint of its own: it may be told to be left alone for a day.
                model = self.lm(**self.place(server), timeout=seconds, headers={"x-kit": "faulty"})
                assert model.service.name  # it is made, which is no part of a call's time
                try:
                    came = await in_time(seconds * 1.1 + LATER_S, self.called(model, streams))
                except LMError as error:
                    check_error(error, (LMError,) if borne else raises, f"{self.spec().name}/{self.model}")
                else:
                    assert borne or not raises, f"an answer came of it: {came!r}"
                    assert came == self.text.means.text
                self.answer(server)
                assert (await lm.complete(self.asked(lm))).text == self.text.means.text

            self.served_by(server, work)

    async def called(self, lm: LM, streams: bool) -> str:
        """The text of a call, whole or in pieces."""
        if streams:
            return "".join(piece.text for piece in await self.pieces(lm))
        return (await lm.complete(self.asked(lm))).text


def told(choice: Choice) -> tuple[Any, ...]:
    """What tells one answer from another; the arguments of calls are JSON, however they are written."""
    return choice.text, choice.reasoning, choice.finish_reason, [*map(_call, choice.tool_calls)], choice.thoughts


def _check_foretold(pieces: list[LMDelta], calls: tuple[ToolCall, ...]) -> None:
    """Pieces of calls, where there are any, say the names and, where they say them, the arguments of the whole ones."""
    told: dict[int, tuple[str, str]] = {}
    for piece in (one for delta in pieces for one in delta.tool_call_pieces):
        name, arguments = told.get(piece.index, ("", ""))
        told[piece.index] = name + piece.name, arguments + piece.arguments
    if told:
        said = [
            (name, arguments or call.arguments)
            for (_, (name, arguments)), call in zip(sorted(told.items()), calls, strict=True)
        ]
        assert said == [(call.name, call.arguments) for call in calls], "tool_call_pieces say something else"


def _call(call: ToolCall) -> tuple[str, str, Any]:
    try:
        return call.id, call.name, msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        return call.id, call.name, call.arguments
