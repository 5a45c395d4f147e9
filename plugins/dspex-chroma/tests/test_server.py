"""What happens between us and a server, beyond the kit."""

import asyncio
import json
import re
import urllib.request
from pathlib import Path

import pytest

import dspex
from dspex.plugin import Condition, ProtocolError
from dspex.testing import FAULTS, FaultServer
from dspex_chroma.provider import ChromaProvider
from dspex_chroma.wire import to_passages, to_where

README = (Path(__file__).parents[1] / "README.md").read_text()


def vowels(texts):
    return [[text.count(vowel) + 0.1 for vowel in "aeiou"] for text in texts]


def handle(url, collection, **more):
    return dspex.Retriever("chroma", api_base=url, collection=collection, embedder=vowels, **more)


def ask(server, path, body, method="POST"):
    base = f"{server.url}/api/v2/tenants/default_tenant/databases/default_database/collections"
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{base}{path}", json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


async def test_a_server_that_goes_and_comes_back_is_found_again(own_server):
    async with dspex.App():
        docs = handle(own_server.url, "docs", num_retries=0, breaker=False)
        await docs.aadd(["banana", "kiwi"])
        own_server.stop()
        with pytest.raises(dspex.RetrieverError, match=r"failed.*127\.0\.0\.1"):
            await docs.acall("papaya", 1)
        with pytest.raises(dspex.RetrieverError, match=r"failed at `add`"):
            await docs.aadd(["apple"])
        own_server.start()
        assert (await docs.acall("papaya", 1))[0].text == "banana"


async def test_what_others_have_put_there_is_found(server):
    made = ask(server, "", {"name": "foreign", "configuration": {"hnsw": {"space": "l2"}}})
    rows = {
        "ids": ["1"],
        "embeddings": vowels(["banana"]),
        "documents": ["banana"],
        "metadatas": [{"by": "hand", "n": 1}],
    }
    ask(server, f"/{made['id']}/upsert", rows)
    async with dspex.App():
        [found] = await handle(server.url, "foreign").acall("banana", where={"n": 1, "by": "hand"})
    assert (found.text, dict(found.metadata), found.id) == ("banana", {"by": "hand", "n": 1}, "1")
    assert found.score == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("space", "score"), [("cosine", 1.0), ("ip", 10.2501), ("l2", 0.0)])
async def test_scores_rise_with_nearness(server, space, score):
    async with dspex.App():
        docs = handle(server.url, f"by-{space}", space=space)
        await docs.aadd(["banana", "kiwi"])
        first, second = await docs.acall("banana", 2)
    assert first.score == pytest.approx(score, rel=0.1, abs=1e-4) or space == "ip"
    assert first.score > second.score
    assert first.text == "banana"


async def test_a_collection_that_somebody_deletes_is_made_anew(server):
    async with dspex.App():
        docs = handle(server.url, "vanishing")
        await docs.aadd(["banana"])
        ask(server, "/vanishing", None, "DELETE")
        assert await docs.acall("banana") == []
        await docs.aadd(["kiwi"])
        assert [one.text for one in await docs.acall("banana")] == ["kiwi"]


async def test_metadata_that_is_left_out_is_gone(server):
    async with dspex.App():
        docs = handle(server.url, "left-out")
        await docs.aadd([dspex.Passage("banana", id="b", metadata={"old": 1, "both": 1})])
        await docs.aadd([dspex.Passage("banana", id="b", metadata={"both": 2})])
        assert await docs.acall("banana", where={"old": 1}) == []
        [found] = await docs.acall("banana", where={"both": 2})
    assert dict(found.metadata) == {"both": 2}


async def test_the_key_travels_in_its_header_and_is_in_no_error():
    with FaultServer() as faulty:
        faulty.then(401, json={"error": "AuthError", "message": "The key sk-canary is wrong."}, times=None)
        async with dspex.App():
            docs = handle(faulty.url, "docs", api_key="sk-canary", num_retries=0)
            with pytest.raises(dspex.RetrieverError) as caught:
                await docs.acall("banana")
    assert [seen.headers["x-chroma-token"] for seen in faulty.requests] == ["sk-canary"]
    assert "sk-canary" not in f"{caught.value} {caught.value!r} {caught.value.__cause__} {docs!r}"


@pytest.mark.parametrize(
    "body", ["[]", '{"ids": [["a"]]}', '{"ids":[["a"]],"documents":[[]],"metadatas":[[]],"distances":[[]]}', "<html>"]
)
def test_a_reply_that_is_none_is_told(body):
    with pytest.raises(ProtocolError, match=r"none to a query|not the JSON expected|web page"):
        to_passages(body.encode(), "cosine")


async def test_a_reply_that_breaks_off_is_tried_again():
    with FaultServer() as faulty:
        faulty.then(200, json={"supports_base64_encoding": True})
        faulty.then(200, json={"id": "x", "name": "docs"})
        faulty.then_raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n{")
        faulty.then(200, json={"ids": [[]], "documents": [[]], "metadatas": [[]], "distances": [[]]})
        async with dspex.App():
            assert await handle(faulty.url, "docs").acall("banana") == []
    assert len(faulty.requests) == 4


NOTHING = b'{"ids":[[]],"documents":[[]],"metadatas":[[]],"distances":[[]]}'


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if not fault.streams])
def test_a_fault_of_the_wire_ends_as_it_says_and_the_next_search_is_a_good_one(fault):
    async def main(faulty):
        async with dspex.App():
            docs = handle(faulty.url, "docs", num_retries=0, breaker=False, timeout=2.0)
            assert await docs.acall("banana") == []
            faulty.then(200, json={"supports_base64_encoding": True})
            faulty.then(200, json={"id": "x", "name": "docs"})
            faulty.then_fault(fault, NOTHING)
            try:
                # An endpoint of its own: it may be told to be left alone for a day.
                found = await handle(
                    faulty.url, "docs", num_retries=0, breaker=False, timeout=0.3, headers={"x-kit": "faulty"}
                ).acall("banana")
            except dspex.RetrieverError as error:
                assert len(str(error)) <= 1_000
            else:
                assert found == []
            faulty.then(200, NOTHING, headers={"Content-Type": "application/json"}, times=None)
            assert await docs.acall("banana") == []

    with FaultServer() as faulty:
        faulty.then(200, json={"supports_base64_encoding": True})
        faulty.then(200, json={"id": "x", "name": "docs"})
        faulty.then(200, NOTHING, headers={"Content-Type": "application/json"})
        asyncio.run(main(faulty))


async def test_a_change_that_is_never_answered_ends():
    with FaultServer() as faulty:
        faulty.then(200, json={"supports_base64_encoding": True}).then(200, json={"id": "x", "name": "docs"})
        faulty.then_raw(end="hang")
        async with dspex.App():
            docs = handle(faulty.url, "docs")
            docs.service.provider.request_s = 0.2
            with pytest.raises(dspex.RetrieverError, match=r"failed at `add`: No reply of http\S+ within 0.2 s"):
                await docs.aadd(["banana"])


def test_conditions_are_written_one_by_one():
    assert to_where([]) is None
    assert to_where([Condition("$a", "gt", (1,))]) == {"~$a": {"$gt": 1}}
    both = [Condition("a", "in", (1, "x")), Condition("b", "in", (True,))]
    assert to_where(both) == {"$and": [{"$or": [{"a": {"$eq": 1}}, {"a": {"$eq": "x"}}]}, {"b": {"$eq": True}}]}


@pytest.mark.parametrize("options", [{"collection": "a"}, {"space": "far"}, {"colection": "docs"}], ids=repr)
def test_options_that_cannot_be_meant_are_refused(options):
    with pytest.raises(dspex.ConfigurationError, match=next(iter(options))):
        ChromaProvider(options, None, dspex.Embedder(vowels))


def test_the_lines_of_the_readme_do_what_they_say(server):
    blocks = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    exec(blocks.replace("http://localhost:8000", server.url), names := {})
    assert [passage.text for passage in names["docs"]("any", 9)] == ["kiwi"]
