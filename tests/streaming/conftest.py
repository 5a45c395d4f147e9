"""A provider that streams as it is told, and what came out of a streamed program."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

import dspex
from dspex.plugin import LMDelta, Usage
from dspex.plugin.manager import PluginManager
from dspex.program.streaming.channel import Channel
from dspex.program.streaming.every_field import EveryField
from dspex.streaming import FieldDelta, StreamResponse
from dspex.testing import VirtualClock, simulate

CHAT = dspex.ChatAdapter()
LAST = LMDelta("", finish_reason="stop", usage=Usage(10, 5, calls=1))


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is installed, these tests use none of it."""
    monkeypatch.setenv("DSPEX_PLUGINS", "none")


class Streaming:
    """An LMProvider: each call takes the next script, the last one for ever.

    A script is a text, streamed in pieces of `size` characters, or a list: texts and LMDeltas are given as they are, a
    number waits, an error is raised.
    """

    capabilities = dspex.Capabilities(chat=True, stream=True)

    def __init__(self, *scripts: Any, size: int = 1) -> None:
        self.scripts = list(scripts)
        self.size = size
        self.requests: list[Any] = []
        self.opened = self.closed = self.given = 0

    async def complete(self, request: Any) -> Any:
        pieces = [delta async for delta in self.stream(request)]
        return dspex.plugin.LMResponse.from_text("".join(delta.text for delta in pieces), LAST.usage)

    async def stream(self, request: Any) -> Any:
        self.requests.append(request)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, str):
            script = [*(script[at : at + self.size] for at in range(0, len(script), self.size)), LAST]
        self.opened += 1
        try:
            for piece in script:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                    continue
                self.given += 1
                yield LMDelta(piece) if isinstance(piece, str) else piece
        finally:
            self.closed += 1


@pytest.fixture
def streaming() -> type[Streaming]:
    """The class Streaming."""
    return Streaming


@pytest.fixture
def reply() -> Callable[..., str]:
    """A reply in chat form with these fields."""
    return lambda **fields: dspex.ChatAdapter().format_fields(fields) + "\n\n[[ ## completed ## ]]"


@pytest.fixture
def texts() -> Callable[[list[Any]], dict[Any, str]]:
    """As `joined`, of FieldDeltas."""

    def join(events: list[Any]) -> dict[Any, str]:
        found: dict[Any, tuple[int, str]] = {}
        for event in events:
            if isinstance(event, FieldDelta):
                key = (event.predictor, event.field, *([event.run] if event.run else []))
                version, text = found.get(key, (0, ""))
                found[key] = event.version, (text if event.version == version else "") + event.text
        return {key: text for key, (_, text) in found.items()}

    return join


@pytest.fixture
def joined() -> Callable[[list[Any]], dict[Any, str]]:
    """The texts of fields: the pieces of the highest version, joined, by (predictor, field) or by (.., run) beyond 0."""

    def join(items: list[Any]) -> dict[Any, str]:
        texts: dict[Any, list[str]] = {}
        versions: dict[Any, int] = {}
        for item in items:
            if isinstance(item, StreamResponse):
                key = (item.predict_name, item.signature_field_name, *([item.run] if item.run else []))
                if item.version > versions.get(key, -1):
                    versions[key], texts[key] = item.version, []
                texts[key].append(item.chunk)
        return {key: "".join(pieces) for key, pieces in texts.items()}

    return join


@pytest.fixture(scope="module")
def heard() -> Iterator[Callable[..., Any]]:
    """What a listener of every output is sent for a reply in these pieces, and what is parsed: (deltas, outputs)."""

    def hear(signature: Any, pieces: list[str], adapter: Any = CHAT) -> tuple[list[FieldDelta], Any]:
        async def read(channel: Channel) -> list[FieldDelta]:
            items: list[FieldDelta] = []
            while batch := await channel.batch():
                items += batch
            return items

        async def run() -> tuple[list[FieldDelta], Any]:
            channel = Channel()
            reader = asyncio.create_task(read(channel))
            predict = dspex.Predict(signature)
            hearing = EveryField(predict, channel).hearing(predict, signature.compiled)
            hearing.begin(adapter, signature.compiled)
            for piece in pieces:
                if hearing.hear(LMDelta(piece), None):
                    await hearing.room()
            outputs = adapter.parse(signature, "".join(pieces))
            await hearing.settle(outputs)
            channel.end()
            return await reader, outputs

        return loop.run(run())

    with asyncio.Runner() as loop:  # thousands of examples need no loop each
        yield hear


@pytest.fixture(scope="session")
def texts_of() -> Callable[[list[FieldDelta]], dict[str, str]]:
    """Joined pieces of the last versions, by field; each ends by exactly one last piece."""

    def texts(items: list[FieldDelta]) -> dict[str, str]:
        last = {item.field: item.version for item in items}
        found = {}
        for name, version in last.items():
            pieces = [item for item in items if (item.field, item.version) == (name, version)]
            assert [item.is_last for item in pieces] == [False] * (len(pieces) - 1) + [True]
            found[name] = "".join(item.text for item in pieces)
        return found

    return texts


@pytest.fixture
def virtual() -> Callable[..., Any]:
    """Runs an async function in virtual time, in an App without plugins; gives its result."""

    def run(main: Callable[..., Coroutine[Any, Any, Any]], **settings: Any) -> Any:
        async def inside() -> Any:
            async with dspex.App(clock=VirtualClock(), plugins=PluginManager(lambda: ()), seed=1, **settings):
                return await main()

        return simulate(inside, 1)[0]

    return run
