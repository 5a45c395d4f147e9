"""Further providers of models that break a rule of their kit; the good ones are what `dspex plugin new` writes, and a parrot."""

import asyncio
import importlib
import sys

import msgspec
import pytest

from dspex.cli.scaffold import write
from dspex.plugin import BadRequest, Capabilities, Choice, LMError, LMResponse, Spec, Usage
from dspex.testing import ASKS, LMInProcessContract, LMProviderContract, Recording

SIMPLE = ("temperature", "seed")


class Parrot:
    """Says what it hears."""

    capabilities = Capabilities(chat=True, n=True)

    def __init__(self, endpoint, http):
        pass

    async def complete(self, request):
        more = request.params.keys() - set(SIMPLE)
        has_parts = any(len(message.parts) > 1 for message in request.messages)
        if more or request.tools or request.schema is not None or has_parts:
            lacking = [name for name, ask in ASKS.items() if name not in SIMPLE and asks_for(request, ask)]
            raise BadRequest(f"A parrot has no {lacking[0]}.")
        return LMResponse((Choice(request.messages[-1].text),) * request.n, Usage(3, 3))


def asks_for(request, ask):
    same = [ask.tools and request.tools, ask.schema and request.schema, ask.params.keys() & request.params.keys()]
    return any(same) or any(part in request.messages[0].parts for part in ask.parts)


class SaysNothing(Parrot):
    async def complete(self, request):
        return LMResponse((Choice(""),), Usage(3, 3))


class NeverSaysWhyItEnds(Parrot):
    async def complete(self, request):
        return LMResponse((Choice("yes", (), ""),), Usage(3, 3))


class CountsNothing(Parrot):
    async def complete(self, request):
        return msgspec.structs.replace(await super().complete(request), usage=None)


class AnswersOnce(Parrot):
    async def complete(self, request):
        return LMResponse((Choice("yes"),), Usage(3, 3))


class RefusesWhatItSaysItCan(Parrot):
    async def complete(self, request):
        if "seed" in request.params:
            raise BadRequest("A parrot has no seed.")
        return await super().complete(request)


class GoesOnWhenCancelled(Parrot):
    async def complete(self, request):
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            raise
        return await super().complete(request)


class StumblesAfterACancellation(Parrot):
    def __init__(self, endpoint, http):
        self.lock = asyncio.Lock()

    async def complete(self, request):
        await self.lock.acquire()
        await asyncio.sleep(0)
        self.lock.release()
        return await super().complete(request)


def in_process(made):
    class Kit(LMInProcessContract):
        limit_s, soon_s = 2.0, 0.2
        cannot = tuple(name for name in ASKS if name not in SIMPLE)

        def spec(self):
            return Spec("parrot", made)

    return Kit()


RULES = [name for name in vars(LMInProcessContract) if name.startswith("test_")]


@pytest.mark.parametrize("name", RULES)
def test_a_parrot_is_a_good_provider(name):
    getattr(in_process(Parrot), name)()


@pytest.mark.parametrize(
    ("made", "about"),
    [
        (SaysNothing, "a_reason_to_finish"),
        (NeverSaysWhyItEnds, "a_reason_to_finish"),
        (CountsNothing, "a_reason_to_finish"),
        (AnswersOnce, "as_many_completions"),
        (RefusesWhatItSaysItCan, "what_it_can_do_is_answered"),
        (GoesOnWhenCancelled, "ends_at_once"),
        (StumblesAfterACancellation, "ends_at_once"),
    ],
)
def test_a_bad_provider_fails_the_test_that_is_about_it(made, about):
    [name] = [name for name in RULES if about in name]
    with pytest.raises((AssertionError, LMError, TimeoutError)):
        getattr(in_process(made), name)()


# Over a wire


@pytest.fixture(scope="module")
def wire(tmp_path_factory):
    """The module of a good provider over HTTP."""
    folder = write("kit-wire", "provider", tmp_path_factory.mktemp("wire"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "src")
        yield importlib.import_module("dspex_kit_wire.provider")
    for name in [name for name in sys.modules if name.startswith("dspex_kit_wire")]:
        del sys.modules[name]


def over_wire(made):
    class Kit(LMProviderContract):
        limit_s = 3.0

        def spec(self):
            return Spec("wire", made)

        def recordings(self):
            reply = b'{"text": "Good day", "ended": "stop", "tokens": [7, 3]}'
            events = b'data: {"text": "Good day"}\n\ndata: {"ended": "stop", "tokens": [7, 3]}\n\n'
            return {"text": Recording(reply, events, Choice("Good day", (), "stop"), Usage(7, 3))}

    return Kit()


def misread(good):
    class Misreads(good):
        async def complete(self, request):
            return msgspec.structs.replace(await super().complete(request), usage=Usage(3, 7))

    return Misreads


def events_only(good):
    class EventsOnly(good):
        async def stream(self, request):
            async for piece in super().stream(request):
                if piece.text and piece.finish_reason:
                    raise BadRequest("a whole reply where a stream was asked for")
                yield piece

    return EventsOnly


@pytest.mark.parametrize(
    ("made", "test", "given"),
    [
        (misread, "test_a_recorded_reply_is_read_as_what_it_means", ["text"]),
        (events_only, "test_a_whole_reply_in_place_of_a_stream_is_the_answer", []),
    ],
    ids=["misreads", "events only"],
)
def test_one_over_a_wire_fails_too(wire, made, test, given):
    getattr(over_wire(wire.KitWireProvider), test)(*given)
    with pytest.raises((AssertionError, LMError)):
        getattr(over_wire(made(wire.KitWireProvider)), test)(*given)
