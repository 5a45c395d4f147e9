"""The kit for retrievers, over a real server, and what happens between us and it beyond the kit."""

import asyncio
import hashlib
import re
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import pytest

import dspex
import dspex_pgvector
from dspex.plugin import Condition, Endpoint, Spec
from dspex.testing import RetrieverContract
from dspex_pgvector.database import told
from dspex_pgvector.options import read_options
from dspex_pgvector.provider import PgvectorProvider
from dspex_pgvector.sql import search

README = (Path(__file__).parents[1] / "README.md").read_text()


def vowels(texts):
    return [[text.count(vowel) + 0.1 for vowel in "aeiou"] for text in texts]


@pytest.mark.usefixtures("shared_dsn")
class TestPgvector(RetrieverContract):
    survives = True

    def spec(self) -> Spec:
        return dspex_pgvector.dspex_retrievers()[0]

    def at(self, folder):
        return {
            "dsn": self.dsn,
            "collection": f"kit_{hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()}",
        }

    def broken(self, folder):
        return {"dsn": "postgresql://nobody@127.0.0.1:1/none"}


@pytest.mark.parametrize("distance", ["cosine", "l2", "dot"])
async def test_scores_rise_with_nearness(dsn, distance):
    async with dspex.App():
        docs = dspex.Retriever("pgvector", dsn=dsn, collection=f"by_{distance}", distance=distance, embedder=vowels)
        await docs.aadd(["banana", "kiwi"])
        first, second = await docs.acall("banana", 2)
    assert first.score > second.score
    assert first.text == "banana"


async def test_a_table_is_made_once_however_many_begin(dsn):
    async with dspex.App():
        docs = dspex.Retriever("pgvector", dsn=dsn, collection="at_once", embedder=vowels, k=50)
        await asyncio.gather(*(docs.aadd([f"banana {number}", "kiwi"]) for number in range(20)))
        assert len(await docs.acall("a")) == 21


async def test_a_vector_of_zeros_is_the_farthest(dsn):
    async with dspex.App():
        docs = dspex.Retriever(
            "pgvector", dsn=dsn, collection="zeros", embedder=lambda texts: [[float(len(t))] for t in texts]
        )
        await docs.aadd(["", "a"])
        assert [passage.score for passage in await docs.acall("a")] == [1.0, -1.0]


async def test_a_table_that_was_dropped_or_made_anew_is_seen_as_it_is(dsn):
    size = [5]
    async with dspex.App():
        docs = dspex.Retriever(
            "pgvector", dsn=dsn, collection="anew", embedder=lambda texts: [row[: size[0]] for row in vowels(texts)]
        )
        for _ in range(2):
            await docs.aadd(["banana"])
            run = docs.service.provider._database.run
            await run(lambda connection: connection.execute('DROP TABLE "anew"'))
            size[0] = 3
        assert await docs.acall("banana") == []
        await docs.adelete(["x"])
        await docs.aadd(["kiwi"])
        assert [passage.text for passage in await docs.acall("banana")] == ["kiwi"]


@pytest.mark.parametrize(
    "error",
    [asyncpg.InternalClientError("cannot switch to state 12"), asyncpg.InterfaceError("closed"), TimeoutError()],
    ids=repr,
)
def test_a_connection_that_is_gone_may_be_there_at_the_next_attempt(error):
    assert isinstance(told(error), dspex.Unavailable)


async def test_a_connection_that_the_server_ends_is_made_anew(dsn):
    async with dspex.App():
        docs = dspex.Retriever("pgvector", dsn=dsn, collection="ended", embedder=vowels)
        await docs.aadd(["banana"])
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%ended%'"
        database = docs.service.provider._database
        await database.run(lambda connection: connection.execute(kill))
        assert len(await docs.acall("banana")) == 1


@pytest.mark.parametrize(
    "passage", [dspex.Passage("a\0b"), dspex.Passage("a", metadata={"a": "\0"})], ids=["text", "metadata"]
)
async def test_what_postgres_cannot_hold_is_told(dsn, passage):
    async with dspex.App():
        docs = dspex.Retriever("pgvector", dsn=dsn, collection="nul", embedder=vowels)
        with pytest.raises(dspex.InputError, match="NUL"):
            await docs.aadd([passage])


def test_values_go_as_parameters():
    options = read_options({"dsn": "postgresql://localhost/x"})
    where = (Condition("it's", "in", ("x' OR '1'='1", True)), Condition("n", "lt", (3,)))
    statement, parameters = search(options, where)
    assert "OR" not in statement.replace("ORDER", "").replace("ORDINALITY", "")
    assert parameters == ["it's", ["\"x' OR '1'='1\"", "true"], "n", "3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "dsn"),
        ({"dsn": "mysql://localhost/x"}, "postgresql://"),
        ({"dsn": "postgresql://user:secret@localhost/x"}, "api_key="),
        ({"dsn": "postgresql://localhost/x?password=secret"}, "api_key="),
        ({"dsn": "postgresql://localhost/x", "collection": 'a"; DROP'}, "collection"),
        ({"dsn": "postgresql://localhost/x", "distance": "far"}, "distance"),
    ],
    ids=str,
)
def test_options_that_cannot_be_meant_are_refused(options, message):
    http = SimpleNamespace(endpoint=Endpoint("pgvector", "retriever"))
    with pytest.raises(dspex.ConfigurationError, match=message) as caught:
        PgvectorProvider(options, http, dspex.Embedder(vowels))
    assert "secret" not in str(caught.value)


def test_the_lines_of_the_readme_do_what_they_say(dsn):
    lines = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    exec(lines.replace("postgresql://me@localhost/mine", dsn), names := {})
    assert [passage.text for passage in names["docs"]("any", 9)] == ["kiwi"]
