"""What every middleware must keep to, as tests that a plugin's own test class inherits; no network."""

import asyncio
import copy
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any

from dspex.app.app import App
from dspex.app.lm import LM
from dspex.app.retriever import Retriever
from dspex.core.endpoint import Capabilities
from dspex.core.errors import BadRequest, LMError, ProtocolError, RetrieverError, Unavailable
from dspex.core.messages import LMDelta, LMRequest, LMResponse, Message, Passage
from dspex.core.usage import Usage
from dspex.plugin.contracts import Middleware
from dspex.testing.conduct import cancelled, going_on, holder

LIMIT_S = 10.0
MANY = 50
TURNS = 50  # of the loop, in which what a middleware asks has begun
THREADS = 4
USAGE = Usage(3, 1)
PIECES = ("One", " two", " three.")

Work = Callable[[LM], Awaitable[Any]]


class MiddlewareContract:
    """Subclass it as `TestMine` and give `make`. `calls` is how often it may ask further for one request (None: as it likes).

    A test that cannot hold for what the middleware is for (one that lets a single call through at a time, say) is overridden,
    with the reason.
    """

    calls: int | None = 1

    def make(self) -> Middleware:
        """The middleware, as its factory gives it."""
        raise NotImplementedError

    def live(self, work: Work, model: "Model | None" = None) -> Any:
        """Run `work(lm)` in an App that has this middleware; fails if it leaves a task running."""

        async def life() -> Any:
            async with asyncio.timeout(LIMIT_S), App(middleware=[self.make()], cache=False):
                found = await work((model or Model()).lm)
            await asyncio.sleep(0)
            assert not going_on(), f"tasks go on: {going_on()}"
            return found

        return asyncio.run(life())

    # A call

    def test_a_call_ends_in_a_reply_and_asks_no_more_often_than_it_says(self) -> None:
        model = Model()

        async def work(lm: LM) -> None:
            assert isinstance(await lm.complete(asking("a")), LMResponse)

        self.live(work, model)
        assert self.calls is None or len(model.asked) <= self.calls, f"it asked {len(model.asked)} times"

    def test_what_it_was_given_is_not_changed(self) -> None:
        request = asking("a", temperature=0.5)
        before = copy.deepcopy(request)

        async def work(lm: LM) -> None:
            await lm.complete(request)

        self.live(work)
        assert request == before, "the request was changed in place; make another by msgspec.structs.replace"

    def test_an_error_comes_out_as_one_of_ours_or_is_answered(self) -> None:
        for error in (BadRequest("no such model"), Unavailable("down", retryable=False)):

            async def work(lm: LM) -> None:
                try:
                    assert isinstance(await lm.complete(asking("a")), LMResponse)
                except ProtocolError as junk:
                    raise AssertionError(f"it makes junk of an error: {junk}") from junk
                except LMError:
                    pass

            self.live(work, Model(error=error))

    def test_cancelled_it_ends_at_once_and_so_does_what_it_waits_for(self) -> None:
        model = Model(hangs=True)

        async def work(lm: LM) -> None:
            for streams in (False, True):
                asked = read(lm, "a") if streams else lm.complete(asking("a"))
                assert await cancelled(asked, TURNS, LIMIT_S / 5), "it ended before what it had asked"
            assert not model.in_flight, "what it had asked goes on"

        self.live(work, model)

    def test_many_calls_are_under_way_together_and_each_gets_its_own_reply(self) -> None:
        model = Model(gather=MANY)

        async def work(lm: LM) -> list[str]:
            replies = await asyncio.gather(*(lm.complete(asking(f"ask-{at}-")) for at in range(MANY)))
            return [reply.text for reply in replies]

        answers = self.live(work, model)
        assert len(set(answers)) == MANY, "replies went to another's call"

    def test_it_is_used_from_several_loops_and_threads_at_once(self) -> None:
        async def work(lm: LM) -> None:
            app_scope = asyncio.get_running_loop()

            def serve() -> None:
                assert asyncio.run(ask_three(lm)) == 3

            await asyncio.gather(*(app_scope.run_in_executor(None, _carried(serve)) for _ in range(THREADS)))

        self.live(work)

    def test_it_holds_no_loop(self) -> None:
        async def work(lm: LM) -> None:
            for call in (lambda: lm.complete(asking("a")), lambda: read(lm, "a")):
                await call()  # the first loads what it needs
                held = await holder(call)
                assert not held, held

        self.live(work)

    # Streams

    def test_a_stream_says_what_the_whole_reply_says(self) -> None:
        async def whole(lm: LM) -> str:
            return (await lm.complete(asking("a"))).text

        async def pieces(lm: LM) -> list[LMDelta]:
            return await read(lm, "a")

        text = self.live(whole)
        came = self.live(pieces)
        assert "".join(piece.text for piece in came) == text
        assert [bool(piece.finish_reason) for piece in came] == [False] * (len(came) - 1) + [True], (
            "the last piece says why the reply ended, and no other"
        )

    def test_pieces_come_as_they_arrive(self) -> None:
        if not hasattr(self.make(), "stream"):
            return
        model = Model(waits=True)

        async def work(lm: LM) -> None:
            async with aclosing(lm.stream(asking("a"))) as coming:
                first = await asyncio.wait_for(anext(coming), LIMIT_S / 5)
                assert first.finish_reason is None
                model.go.set()

        self.live(work, model)

    def test_a_reader_that_stops_early_ends_the_stream(self) -> None:
        model = Model()

        async def work(lm: LM) -> None:
            coming = lm.stream(asking("a"))
            await anext(coming)
            await coming.aclose()
            assert not model.in_flight, "the stream goes on behind its reader"

        self.live(work, model)

    # Searches

    def test_a_search_ends_in_passages(self) -> None:
        if not hasattr(self.make(), "retrieve"):
            return

        class Found:
            async def retrieve(_self, query: str, k: int) -> list[Passage]:  # noqa: N805  the kit's own is in use
                return [Passage(f"{query} {at}", 1.0 - at / 10) for at in range(k)]

        async def work(_lm: LM) -> None:
            found = await Retriever("kit", provider=Found()).acall("moon", 3)
            assert all(isinstance(passage, Passage) for passage in found)
            assert len(found) <= 3, "more than was asked for"

        self.live(work)

    def test_a_cancelled_search_ends_at_once_and_so_does_what_it_waits_for(self) -> None:
        ended: list[bool] = []

        class Endless:
            async def retrieve(_self, query: str, k: int) -> list[Passage]:  # noqa: N805  as above
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append(True)
                return []

        async def work(_lm: LM) -> None:
            search = Retriever("kit", provider=Endless()).acall("moon", 3)
            assert await cancelled(search, TURNS, LIMIT_S / 5), "it ended before what it had asked"
            assert ended, "what it had asked goes on"

        self.live(work)

    def test_a_search_that_fails_ends_in_one_of_our_errors(self) -> None:
        class Lost:
            async def retrieve(_self, query: str, k: int) -> list[Passage]:  # noqa: N805  as above
                raise BadRequest("no such index")

        async def work(_lm: LM) -> None:
            with suppress(RetrieverError):
                await Retriever("kit", provider=Lost()).acall("moon", 3)

        self.live(work)


class Model:
    """A provider that repeats what it is asked; it may fail, hang, wait for many, or for `go` after its first piece."""

    capabilities = Capabilities(chat=True, stream=True)

    def __init__(
        self, *, error: Exception | None = None, hangs: bool = False, waits: bool = False, gather: int = 0
    ) -> None:
        self.asked: list[LMRequest] = []
        self.in_flight = 0
        self.go = asyncio.Event()
        self._error, self._hangs, self._waits = error, hangs, waits
        self._gather, self._gathered = gather, asyncio.Event()
        self._lock = threading.Lock()

    async def complete(self, request: LMRequest) -> LMResponse:
        """The pieces, behind what was asked."""
        await self._came(request)
        try:
            await self._ready()
            return LMResponse.from_text(request.messages[-1].text + "".join(PIECES), USAGE)
        finally:
            self.in_flight -= 1

    async def stream(self, request: LMRequest) -> AsyncGenerator[LMDelta, None]:
        """The same in pieces."""
        await self._came(request)
        try:
            await self._ready()
            for place, text in enumerate((request.messages[-1].text, *PIECES)):
                if place and self._waits:
                    await self.go.wait()
                yield LMDelta(text)
            yield LMDelta("", finish_reason="stop", usage=USAGE)
        finally:
            self.in_flight -= 1

    async def _came(self, request: LMRequest) -> None:
        with self._lock:
            self.asked.append(request)
            self.in_flight += 1
            if len(self.asked) == self._gather:
                self._gathered.set()

    async def _ready(self) -> None:
        if self._error is not None:
            raise self._error
        if self._gather:
            await self._gathered.wait()
        if self._hangs:
            await asyncio.Event().wait()

    @property
    def lm(self) -> LM:
        """A handle that makes one attempt and keeps nothing."""
        return LM("kit/model", provider=self, cache=False, num_retries=0, breaker=False)


def asking(text: str, **params: Any) -> LMRequest:
    """A request of one turn."""
    return LMRequest("model", (Message.of("user", text),), params)


async def read(lm: LM, text: str) -> list[LMDelta]:
    """A stream, to its end."""
    return [piece async for piece in lm.stream(asking(text))]


async def ask_three(lm: LM) -> int:
    """How many different replies three calls get."""
    replies: Sequence[LMResponse] = await asyncio.gather(*(lm.complete(asking(f"ask-{at}-")) for at in range(3)))
    return len({reply.text for reply in replies})


def _carried(function: Callable[[], None]) -> Callable[[], None]:
    """The function in the scope of this App, on another thread."""
    import contextvars

    scope = contextvars.copy_context()
    return lambda: scope.run(function)
