"""The streaming server, read by a real HTTP client; its model is played from a cassette.

To ask the embedded model again (dspex-llamacpp), delete the cassette and run this with CASSETTES=auto.
"""

import importlib.util
import json
import os
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

import dspex

HERE = Path(__file__).parent
MODE = os.environ.get("CASSETTES", "replay")


@pytest.fixture
async def url():
    spec = importlib.util.spec_from_file_location("streaming_server", HERE / "streaming_server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with dspex.cassette(HERE / "cassettes" / "streaming_server.jsonl", mode=MODE):
        async with TestServer(module.server(dspex.LM("llamacpp/gemma-3-270m"), cache=False)) as server:
            yield server.make_url("/guide")


async def events(response):
    """Each event of a response as it comes: its name and its data."""
    name = ""
    async for line in response.content:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


@pytest.mark.parametrize(
    ("place", "country", "millions"), [("Kyoto", "Japan", 124), ("Naples", "Italy", None)], ids=["known", "unknown"]
)
async def test_each_part_of_the_program_is_read_while_it_is_written(url, place, country, millions):
    texts, told = {}, []
    async with aiohttp.ClientSession() as session, session.get(url, params={"place": place}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        async for name, data in events(response):
            if name == "FieldDelta":
                texts.setdefault((data["predictor"], data["field"]), []).append(data["text"])
            else:
                told.append((name, data))
    (started, called), (ended, came), (finished, last) = told
    assert (started, called["tool"], called["arguments"]) == ("ToolStarted", "population", {"country": country})
    assert (ended, came["output"], came["call_id"]) == ("ToolFinished", millions, called["call_id"])
    assert (came["error"] is None) == (millions is not None)
    assert [*texts] == [("find", "country"), ("tell", "text")]
    text = "".join(texts["tell", "text"])
    assert finished == "Finished"
    assert last["prediction"] == {"country": country, "millions": millions, "text": text}
    assert place in text
    assert len(texts["tell", "text"]) > 5
