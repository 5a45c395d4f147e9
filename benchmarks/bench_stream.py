"""The price of a streamed piece: streamify and astream beside aiohttp and msgspec by hand, in interleaved rounds.

    python benchmarks/bench_stream.py [--rounds 5] [--streams 64] [--turns 10]

Needs dspex-openai. Prints pieces a second of that many streams at once, for each form of replies, their ratio to raw, and the
share of pieces that arrived; raw reads lines and keeps one decoder. The last two lines are of one stream after another, the
second of them through the plain generator.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
from mock_server import PIECES, mock_server

import dspex
from dspex.streaming import FieldDelta, Finished


class Delta(msgspec.Struct):
    content: str = ""


class Choice(msgspec.Struct):
    delta: Delta


class Chunk(msgspec.Struct):
    choices: list[Choice]


DECODER = msgspec.json.Decoder(Chunk)
EXPECTED = " word" * PIECES


async def raw_stream(session: aiohttp.ClientSession, url: str, question: str) -> int:
    body = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": question}]}
    texts = []
    async with session.post(url, data=msgspec.json.encode(body), headers={"content-type": "application/json"}) as reply:
        async for line in reply.content:
            if line.startswith(b"data: {"):
                text = DECODER.decode(line[6:]).choices[0].delta.content
                if text:
                    texts.append(text)
    whole = "".join(texts)
    assert whole.split("]]\n", 1)[1].split("\n\n[[", 1)[0] == EXPECTED
    return len(texts) - 2


async def at_once(stream: Callable[[str], Awaitable[int]], streams: int, turns: int) -> tuple[float, float]:
    """Pieces a second, and the share of those sent that came."""
    await stream("warm")

    async def work(number: int) -> int:
        return sum([await stream(f"{number} {turn}") for turn in range(turns)])

    began = time.perf_counter()
    came = sum(await asyncio.gather(*map(work, range(streams))))
    seconds = time.perf_counter() - began
    sent = streams * turns * PIECES
    return sent / seconds, came / sent


async def measured_raw(url: str, streams: int, turns: int) -> tuple[float, float]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await at_once(lambda q: raw_stream(session, f"{url}/chat/completions", q), streams, turns)


async def measured(predict: dspex.Predict, streams: int, turns: int, way: str, adapter: Any) -> tuple[float, float]:
    streamed = dspex.streamify(predict, stream_listeners=[dspex.streaming.StreamListener("answer")])

    async def heard(question: str) -> tuple[list[str], Any]:
        chunks, last = [], None
        async for item in streamed(question=question):
            if isinstance(item, dspex.Prediction):
                last = item
            elif item.chunk:
                chunks.append(item.chunk)
        return chunks, last

    async def told(question: str) -> tuple[list[str], Any]:
        chunks, last = [], None
        async for event in predict.astream(question=question):
            if type(event) is Finished:
                last = event.prediction
            elif type(event) is FieldDelta and event.text:
                chunks.append(event.text)
        return chunks, last

    async def stream(question: str) -> int:
        chunks, last = await (heard if way == "streamify" else told)(question)
        assert last.answer == "".join(chunks)
        assert last.answer.strip() == EXPECTED.strip()
        return len(chunks)

    with dspex.context(adapter=adapter):
        return await at_once(stream, streams, turns)


def measured_plain(predict: dspex.Predict, turns: int) -> tuple[float, float]:
    """One plain generator after another: each batch of it crosses threads."""
    began, came = time.perf_counter(), 0
    for turn in range(turns):
        came += sum(type(event) is FieldDelta and bool(event.text) for event in predict.stream(question=f"{turn}"))
    return turns * PIECES / (time.perf_counter() - began), came / (turns * PIECES)


WAYS = {
    "streamify": ("streamify", dspex.ChatAdapter()),
    "astream": ("astream", dspex.ChatAdapter()),
    "astream, json": ("astream", dspex.JSONAdapter()),
    "astream, xml": ("astream", dspex.XMLAdapter()),
    "astream, plain": ("astream", dspex.PlainAdapter()),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--streams", type=int, default=64)
    arguments.add_argument("--turns", type=int, default=10)
    given = arguments.parse_args()
    dspex.configure(cache=False)
    rates: dict[str, list[float]] = {}
    shares: dict[str, list[float]] = {}
    with mock_server() as url:
        predict = dspex.Predict("question -> answer")

        def note(name: str, rate: float, share: float) -> None:
            rates.setdefault(name, []).append(rate)
            shares.setdefault(name, []).append(share)

        for _ in range(given.rounds):
            note("raw", *asyncio.run(measured_raw(url, given.streams, given.turns)))
            for name, (way, adapter) in WAYS.items():
                model = "mock" if adapter.name == "chat" else f"mock-{adapter.name}"
                predict.lm = dspex.LM(f"openai/{model}", api_base=url, api_key="none", cache=False)
                note(name, *asyncio.run(measured(predict, given.streams, given.turns, way, adapter)))
            predict.lm = dspex.LM("openai/mock", api_base=url, api_key="none", cache=False)
            note("raw, one by one", *asyncio.run(measured_raw(url, 1, given.turns * 10)))
            note("stream, one by one", *measured_plain(predict, given.turns * 10))
    for name, found in rates.items():
        raw = rates["raw, one by one" if "one by one" in name else "raw"]
        line = f"{name:20s}{max(found):8.0f} pieces/s"
        print(
            line
            if found is raw
            else f"{line}, {max(found) / max(raw):.2f}x raw, {min(shares[name]):.3f} of the pieces came"
        )


if __name__ == "__main__":
    main()
