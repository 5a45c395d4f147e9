"""What a provider must do that has embeddings made over HTTP, good days and bad, as tests that a plugin's own test class inherits."""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.app.embedder import Embedder
from dspex.core.errors import LMError, LMTimeout
from dspex.testing.embedding_contract import TEXTS, EmbeddingContract, cosine, rows
from dspex.testing.fault_ends import LATER_S, TIMEOUT_S, check_error, in_time
from dspex.testing.fault_server import FaultServer
from dspex.testing.faults import FAULTS
from dspex.testing.one_plugin import KEY

MANY = 50
SIZE = 8
WHOLE = tuple(name for name, fault in FAULTS.items() if not fault.streams)


class EmbeddingProviderContract(EmbeddingContract):
    """The contract of `EmbeddingContract`, held over a server that makes a vector of each text, and that of the wire.

    Subclass it as `TestMine` and give `spec` and `reply`. `base_path` is what `api_base` has behind the host. `sends_key` False:
    requests are signed by the key, or the service knows none. Faults come from `FaultServer`, each in its own test;
    `timeout_s` ends a call that none of them should delay. A model behind a real server has `EmbeddingContract` alone.
    """

    bears: Mapping[str, str] = MappingProxyType({})  # as in LMProviderContract
    same_meaning = ()  # the vectors are made of the texts' letters
    base_path = ""
    sends_key = True
    timeout_s = 5.0

    def reply(self, asked: Any) -> Any:
        """The JSON of a good answer to a request's: `row` of each of its texts, and `tokens` of them where the wire counts."""
        raise NotImplementedError

    def row(self, text: str) -> list[float]:
        """The vector that the server has for a text."""
        return [byte / 128 - 1 for byte in hashlib.sha256(text.encode()).digest()[:SIZE]]

    def tokens(self, texts: Sequence[str]) -> int:
        """How many tokens the server says that these texts have."""
        return sum(1 + len(text) // 4 for text in texts)

    def raises(self, fault: str) -> tuple[type[LMError], ...]:
        """What a call may end in under a fault of FAULTS; empty where the answer arrives all the same."""
        return FAULTS[fault].raises

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test a fault; those of streams are not for embeddings."""
        if "fault" in metafunc.fixturenames:
            metafunc.parametrize("fault", WHOLE)

    # Running

    @contextmanager
    def served(self) -> Iterator[Mapping[str, Any]]:
        """A server that answers each request as it should."""
        with FaultServer() as server:
            server.then_made(self.reply, times=None)
            yield self.place(server)

    def place(self, server: FaultServer) -> dict[str, Any]:
        """Keywords of Embedder for a model behind that server."""
        return {"api_base": f"{server.url}{self.base_path}", "api_key": KEY}

    def served_by(self, server: FaultServer, work: Any, **more: Any) -> None:
        """Run `work(embedder)` against a server that the test scripts itself."""
        assert not asyncio.run(self.life(work, {**self.place(server), **more})), "tasks go on"

    # The contract of the wire

    def test_vectors_are_those_of_the_server(self) -> None:
        async def work(embedder: Embedder) -> None:
            for text, row in zip(TEXTS, await rows(embedder, TEXTS), strict=True):
                assert cosine(list(row), self.row(text)) >= self.nearness, f"{text!r:.40} has another vector"

        self.live(work)

    def test_the_key_travels_in_a_header_only_and_is_in_no_error(self) -> None:
        errors: list[str] = []
        with FaultServer() as server:

            async def work(embedder: Embedder) -> None:
                for status in (400, 401, 429, 500):
                    server.then(status, json={"error": {"message": f"The key {KEY} is wrong."}})
                    try:
                        await embedder.embed(TEXTS[:1])
                    except LMError as error:
                        errors.append(f"{error} {error!r} {vars(error)} {error.__cause__!r} {error.__context__!r}")
                errors.append(repr(embedder))

            self.served_by(server, work)
            assert len(errors) == 5
            assert not [text for text in errors if KEY in text], "the key is shown"
            sent = [KEY in " ".join(seen.headers.values()) for seen in server.requests]
            assert sent == [self.sends_key] * len(sent), "whether the key is sent is not as `sends_key` says"
            assert not [seen for seen in server.requests if KEY in seen.path or KEY.encode() in seen.body]

    def test_a_cancelled_call_closes_its_connection(self) -> None:
        with FaultServer() as server:

            async def work(embedder: Embedder) -> None:
                server.then_raw(end="hang")
                task = asyncio.ensure_future(embedder.embed(TEXTS[:1]))
                assert await asyncio.to_thread(server.wait, lambda s: len(s.requests) > s.closed)
                task.cancel()
                done, _ = await asyncio.wait([task], timeout=self.soon_s)
                assert done, "cancelled, it went on"
                assert task.cancelled(), "it made something else of its cancellation"
                assert await asyncio.to_thread(server.wait, lambda s: s.closed == s.connections, self.soon_s)

            self.served_by(server, work)

    def test_many_calls_are_in_flight_together(self) -> None:
        with FaultServer() as server:

            async def work(embedder: Embedder) -> None:
                server.then_made(self.reply, times=MANY, gather=MANY)
                asked = [f"text number {number}" for number in range(MANY)]
                for text, [row] in zip(
                    asked, await asyncio.gather(*(rows(embedder, [text]) for text in asked)), strict=True
                ):
                    assert cosine(list(row), self.row(text)) >= self.nearness, f"{text!r} has another vector"

            self.served_by(server, work, timeout=self.timeout_s)

    def test_a_fault_ends_as_it_says_and_the_next_call_is_a_good_one(self, fault: str) -> None:
        raises = self.raises(fault)
        seconds = TIMEOUT_S if LMTimeout in raises else self.timeout_s
        borne = fault in self.bears
        assert not borne or self.bears[fault], "why it is met otherwise is not said"
        with FaultServer() as server:

            async def work(embedder: Embedder) -> None:
                server.then_made(self.reply, times=None)
                [good] = await rows(embedder, TEXTS[:1])  # the first call loads what it needs
                answer = msgspec.json.encode(self.reply(server.requests[-1].json))
                server.then_fault(fault, answer, times=None)
                # An endpoint of its own: it may be told to be left alone for a day.
                faulty = self.embedder(**self.place(server), timeout=seconds, headers={"x-kit": "faulty"})
                assert faulty.service.name  # it is made, which is no part of a call's time
                try:
                    [came] = await in_time(seconds * 1.1 + LATER_S, rows(faulty, TEXTS[:1]))
                except LMError as error:
                    check_error(error, (LMError,) if borne else raises, f"{self.spec().name}/{self.model}")
                else:
                    assert borne or not raises, f"vectors came of it: {came!r}"
                    assert self.is_same(came, good)
                server.then_made(self.reply, times=None)
                assert self.is_same((await rows(embedder, TEXTS[:1]))[0], good)

            self.served_by(server, work)
