"""What happens between us and an engine, beyond the kit."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from qdrant_client import QdrantClient, models

import dspex
from dspex.plugin import Condition, Endpoint, LMResponse, ProtocolError
from dspex.testing import FAULTS, FaultServer
from dspex.testing.lm_contract import ended, forked
from dspex_qdrant.options import QdrantOptions
from dspex_qdrant.provider import QdrantProvider
from dspex_qdrant.wire import point_id, to_filter, to_passage, to_point

README = (Path(__file__).parents[1] / "README.md").read_text()
OPTIONS = QdrantOptions()


def vowels(texts):
    return [[text.count(vowel) + 0.1 for vowel in "aeiou"] for text in texts]


def handle(collection, **more):
    return dspex.Retriever("qdrant", collection=collection, embedder=vowels, **more)


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
async def test_scores_rise_with_nearness(server, distance):
    async with dspex.App():
        docs = handle(f"by {distance}", api_base=server.url, distance=distance)
        await docs.aadd(["banana", "kiwi"])
        first, second = await docs.acall("banana", 2)
    assert first.score > second.score
    assert (first.text, first.score <= 0.001) == ("banana", distance in {"Euclid", "Manhattan"})


async def test_what_others_have_put_there_is_found(server):
    server.engine.client.create_collection("foreign", vectors_config=models.VectorParams(size=5, distance="Cosine"))
    payload = {"page_content": "banana", "meta": {"by": "hand"}}
    server.engine.client.upsert("foreign", [models.PointStruct(id=7, vector=vowels(["banana"])[0], payload=payload)])
    async with dspex.App():
        docs = handle("foreign", api_base=server.url, text="page_content", metadata="meta")
        [found] = await docs.acall("banana", where={"by": "hand"})
    assert (found.id, found.text, dict(found.metadata)) == ("7", "banana", {"by": "hand"})


async def test_a_collection_that_was_deleted_or_made_anew_is_seen_as_it_is(server):
    size = [5]
    async with dspex.App():
        docs = dspex.Retriever(
            "qdrant",
            collection="anew",
            api_base=server.url,
            embedder=lambda texts: [row[: size[0]] for row in vowels(texts)],
        )
        for _ in range(2):
            await docs.aadd(["banana"])
            server.engine.client.delete_collection("anew")
            size[0] = 3
        assert await docs.acall("banana") == []
        await docs.adelete(["x"])
        await docs.aadd(["kiwi"])
        assert [passage.text for passage in await docs.acall("banana")] == ["kiwi"]


async def test_a_collection_with_named_vectors_is_refused(server):
    named = {"a": models.VectorParams(size=5, distance="Cosine")}
    server.engine.client.create_collection("named", vectors_config=named)
    async with dspex.App():
        with pytest.raises(dspex.RetrieverError, match="named vectors"):
            await handle("named", api_base=server.url).acall("banana")


async def test_the_key_travels_in_its_header_and_is_in_no_error(server):
    async with dspex.App():
        await handle("keyed", api_base=server.url, api_key="sk-canary").acall("banana")
    assert server.keys[-1] == "sk-canary"
    with FaultServer() as faulty:
        faulty.then(403, json={"status": {"error": "forbidden: sk-canary"}}, times=None)
        async with dspex.App():
            with pytest.raises(dspex.RetrieverError) as caught:
                await handle("docs", api_base=faulty.url, api_key="sk-canary", num_retries=0).acall("banana")
    assert "sk-canary" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


async def test_a_refusal_is_told_in_the_servers_words():
    with FaultServer() as faulty:
        faulty.then(400, json={"status": {"error": "Wrong input: no such thing"}, "time": 0.0})
        async with dspex.App():
            with pytest.raises(dspex.RetrieverError, match=r"\(400\): Wrong input: no such thing"):
                await handle("docs", api_base=faulty.url).acall("banana")


@pytest.mark.parametrize("body", ["[]", "<html>", '{"status": "ok"}'])
async def test_a_reply_that_is_none_is_told(body):
    with FaultServer() as faulty:
        faulty.then(200, body, headers={"Content-Type": "application/json"}, times=None)
        async with dspex.App():
            with pytest.raises(dspex.RetrieverError, match=r"no reply of Qdrant|not the JSON expected|web page"):
                await handle("docs", api_base=faulty.url, num_retries=0).acall("banana")


NOTHING = b'{"result": [{"points": []}], "status": "ok", "time": 0.0}'
MADE = {"result": {"config": {"params": {"vectors": {"size": 5, "distance": "Cosine"}}}}, "status": "ok", "time": 0.0}


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if not fault.streams])
def test_a_fault_of_the_wire_ends_as_it_says_and_the_next_search_is_a_good_one(fault):
    async def main(faulty):
        async with dspex.App():
            docs = handle("docs", api_base=faulty.url, num_retries=0, breaker=False)
            assert await docs.acall("banana") == []
            faulty.then(200, json=MADE)
            faulty.then_fault(fault, NOTHING)
            # An endpoint of its own: it may be told to be left alone for a day.
            other = {"num_retries": 0, "breaker": False, "timeout": 0.3, "headers": {"x-kit": "faulty"}}
            try:
                found = await handle("docs", api_base=faulty.url, **other).acall("banana")
            except dspex.RetrieverError as error:
                assert len(str(error)) <= 1_000
            else:
                assert found == []
            faulty.then(200, NOTHING, headers={"Content-Type": "application/json"}, times=None)
            assert await docs.acall("banana") == []

    with FaultServer() as faulty:
        faulty.then(200, json=MADE)
        faulty.then(200, NOTHING, headers={"Content-Type": "application/json"})
        asyncio.run(main(faulty))


async def test_a_change_that_is_never_answered_ends():
    with FaultServer() as faulty:
        faulty.then(200, json=MADE)
        faulty.then_raw(end="hang")
        async with dspex.App():
            docs = handle("docs", api_base=faulty.url)
            docs.service.provider._transport.request_s = 0.2
            with pytest.raises(dspex.RetrieverError, match=r"failed at `add`: No reply of http\S+ within 0.2 s"):
                await docs.aadd(["banana"])


@pytest.mark.parametrize(
    "point", [{}, {"id": 1, "payload": []}, {"id": 1, "payload": {}, "score": "x"}, None], ids=repr
)
def test_a_point_that_is_none_is_told(point):
    with pytest.raises(ProtocolError, match="no point"):
        to_passage(point, OPTIONS, "Cosine")


def test_names_that_a_path_cannot_hold_stand_a_second_time():
    point = to_point(dspex.Passage("t", id="x", metadata={"a b": 1, "c": 2}), memoryview(b"\0" * 4).cast("f"), OPTIONS)
    assert point["payload"]["metadata"] == {"a b": 1, "c": 2}
    assert point["payload"]["dspex_odd"] == {"h612062": 1}
    [clause] = to_filter((Condition("a b", "in", ("x",)),), OPTIONS)["must"]
    assert clause["key"] == "dspex_odd.h612062"
    assert point["id"] == point_id("x") != point_id("y")


async def test_a_folder_is_of_one_process_at_a_time(tmp_path):
    path = tmp_path / "index"
    async with dspex.App():
        await handle("docs", path=str(path)).aadd(["banana"])
        program = f"""
import dspex
docs = dspex.Retriever("qdrant", collection="docs", embedder=lambda texts: [[1.0] * 5] * len(texts), path={str(path)!r})
try:
    docs("banana")
except dspex.RetrieverError as error:
    print(error)
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: ASYNC221
        assert "cannot be opened" in done.stdout
    client = QdrantClient(path=str(path))
    assert client.count("docs").count == 1
    client.close()


async def test_a_folder_that_a_forked_child_inherits_is_refused_at_once(tmp_path):
    async with dspex.App():
        docs = handle("docs", path=str(tmp_path / "index"))
        await docs.aadd(["banana"])

        async def child():
            with pytest.raises(dspex.RetrieverError, match="before this process was forked"):
                await docs.acall("banana")
            return LMResponse.from_text("refused")

        assert await asyncio.to_thread(ended, forked(child), 20.0) == 0
        assert len(await docs.acall("banana")) == 1


@pytest.mark.parametrize(
    ("options", "base", "message"),
    [
        ({"collection": "a/b"}, None, "collection"),
        ({"distance": "Far"}, None, "distance"),
        ({"colection": "docs"}, None, "colection"),
        ({"path": ":memory:"}, "http://localhost", "leave one of the two out"),
    ],
    ids=str,
)
def test_options_that_cannot_be_meant_are_refused(options, base, message):
    http = SimpleNamespace(endpoint=Endpoint("qdrant", "retriever", base))
    with pytest.raises(dspex.ConfigurationError, match=message):
        QdrantProvider(options, http, dspex.Embedder(vowels))


def test_without_the_engine_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(dspex.DspexError, match=r"dspex-qdrant\[local\]"):
        handle("absent", path=":memory:", num_retries=0)("banana")


def test_the_lines_of_the_readme_do_what_they_say():
    exec("\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL)), names := {})
    assert [passage.text for passage in names["docs"]("any", 9)] == ["kiwi"]
