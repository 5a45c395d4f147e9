"""The kit for embeddings made over HTTP: a good provider passes all of it, and each kind of bad one fails the test that is about it."""

import asyncio
import json
from array import array
from itertools import chain

import msgspec
import pytest

import dspex
from dspex.plugin import Headers, Usage, Vectors, decode_json
from dspex.testing import EmbeddingProviderContract
from dspex.testing.embedding_provider_contract import WHOLE

TESTS = [name for name in dir(EmbeddingProviderContract) if name.startswith("test_")]
ONE_A_FAULT = "test_a_fault_ends_as_it_says_and_the_next_call_is_a_good_one"


class Reply(msgspec.Struct):
    rows: list[list[float]] | None = None
    tokens: int = 0
    error: object = None


class Good:
    """A wire of nothing but texts and rows."""

    def __init__(self, endpoint, http):
        self.http = http
        self.headers = Headers({"authorization": f"Bearer {endpoint.api_key.reveal()}"})

    def read(self, body):
        found = decode_json(body, Reply)
        if found.error is not None:
            raise dspex.Unavailable("It has failed.")
        if not found.rows:
            raise dspex.ProtocolError("There are no rows.", code="retry_once")
        return found

    async def asked(self, texts, path="/embed"):
        reply = await self.http.request("POST", path, json={"texts": texts}, headers=self.headers)
        return self.read(reply.body)

    async def embed(self, texts):
        found = await self.asked(texts)
        return Vectors(array("f", chain.from_iterable(found.rows)), len(found.rows[0]), Usage(found.tokens))


class DecodesByHand(Good):
    def read(self, body):
        return Reply(**json.loads(body))


class TakesAnErrorForAnAnswer(Good):
    def read(self, body):
        found = decode_json(body, Reply)
        return found if found.error is None else Reply([[1.0] * 8])


class ChangesTheVectors(Good):
    async def embed(self, texts):
        found = await super().embed(texts)
        return Vectors(
            array("f", [value + number % 3 for number, value in enumerate(found.data)]), found.dim, found.usage
        )


class PutsItsKeyIntoTheAddress(Good):
    async def asked(self, texts):
        return await super().asked(texts, f"/embed?key={self.headers['authorization'][7:]}")


class SendsNoKey(Good):
    def __init__(self, endpoint, http):
        self.http, self.headers = http, {}


class GoesOnWhenCancelled(Good):
    async def embed(self, texts):
        return await asyncio.shield(super().embed(texts))


class OneAtATime(Good):
    def __init__(self, endpoint, http):
        super().__init__(endpoint, http)
        self.turn = asyncio.Lock()

    async def embed(self, texts):
        async with self.turn:
            return await super().embed(texts)


def kit(provider):
    class Kit(EmbeddingProviderContract):
        soon_s, timeout_s, forks = 0.5, 1.0, False

        def spec(self):
            return dspex.Spec("mine", provider)

        def reply(self, asked):
            texts = asked["texts"]
            return {"rows": [*map(self.row, texts)], "tokens": self.tokens(texts)}

    return Kit()


@pytest.mark.parametrize("name", [name for name in TESTS if name != ONE_A_FAULT])
def test_a_good_provider_passes(name):
    getattr(kit(Good), name)()


@pytest.mark.parametrize("fault", WHOLE)
def test_a_good_provider_ends_as_each_fault_says(fault):
    getattr(kit(Good), ONE_A_FAULT)(fault)


BAD = [
    (DecodesByHand, ONE_A_FAULT, ("JSON cut off",)),
    (TakesAnErrorForAnAnswer, ONE_A_FAULT, ("error in a reply",)),
    (ChangesTheVectors, "test_vectors_are_those_of_the_server", ()),
    (PutsItsKeyIntoTheAddress, "test_the_key_travels_in_a_header_only_and_is_in_no_error", ()),
    (SendsNoKey, "test_the_key_travels_in_a_header_only_and_is_in_no_error", ()),
    (GoesOnWhenCancelled, "test_a_cancelled_call_closes_its_connection", ()),
    (OneAtATime, "test_many_calls_are_in_flight_together", ()),
]


@pytest.mark.parametrize(("provider", "name", "fault"), BAD, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bad_provider_fails_the_test_that_is_about_it(provider, name, fault):
    with pytest.raises((AssertionError, dspex.DspexError, TimeoutError)):
        getattr(kit(provider), name)(*fault)


def test_every_test_of_the_kit_can_fail():
    assert {name for name in vars(EmbeddingProviderContract) if name.startswith("test_")} == {
        name for _, name, _ in BAD
    }
