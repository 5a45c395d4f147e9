"""The price of a streamed piece: streamify and astream beside aiohttp and msgspec by hand, in interleaved rounds.

    python benchmarks/bench_stream.py [--rounds 5] [--streams 64] [--turns 10]

Needs dspex-openai. Prints pieces a second of that many streams at once, for each form of replies, their ratio to raw (on a busy
machine that of the CPU's time says more), and the share of pieces that arrived; raw reads lines and keeps one decoder. The last
two lines are of one stream after another, the second of them through the plain generator.
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


class Rate(msgspec.Struct):
    """Pieces a second of the clock and of this process's CPU, and the share of those sent that came."""

    clock: float
    cpu: float
    came: float


class Timer:
    """Makes a Rate of what is done since it was made."""

    def __init__(self) -> None:
        self.clock, self.cpu = time.perf_counter(), time.process_time()

    def rate(self, sent: int, came: int) -> Rate:
        clock, cpu = time.perf_counter() - self.clock, time.process_time() - self.cpu
        return Rate(sent / clock, sent / cpu, came / sent)


async def at_once(stream: Callable[[str], Awaitable[int]], streams: int, turns: int) -> Rate:
    await stream("warm")

    async def work(number: int) -> int:
        return sum([await stream(f"{number} {turn}") for turn in range(turns)])

    timer = Timer()
    came = sum(await asyncio.gather(*map(work, range(streams))))
    return timer.rate(streams * turns * PIECES, came)


async def measured_raw(url: str, streams: int, turns: int) -> Rate:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await at_once(lambda q: raw_stream(session, f"{url}/chat/completions", q), streams, turns)


async def measured(predict: dspex.Predict, streams: int, turns: int, way: str, adapter: Any) -> Rate:
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


def measured_plain(predict: dspex.Predict, turns: int) -> Rate:
    """One plain generator after another: each batch of it crosses threads."""
    timer, came = Timer(), 0
    for turn in range(turns):
        came += sum(type(event) is FieldDelta and bool(event.text) for event in predict.stream(question=f"{turn}"))
    return timer.rate(turns * PIECES, came)


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
    rates: dict[str, list[Rate]] = {}
    with mock_server() as url:
        predict = dspex.Predict("question -> answer")
        for _ in range(given.rounds):
            rates.setdefault("raw", []).append(asyncio.run(measured_raw(url, given.streams, given.turns)))
            for name, (way, adapter) in WAYS.items():
                model = "mock" if adapter.name == "chat" else f"mock-{adapter.name}"
                predict.lm = dspex.LM(f"openai/{model}", api_base=url, api_key="none", cache=False)
                rate = asyncio.run(measured(predict, given.streams, given.turns, way, adapter))
                rates.setdefault(name, []).append(rate)
            predict.lm = dspex.LM("openai/mock", api_base=url, api_key="none", cache=False)
            alone = given.turns * 10
            rates.setdefault("raw, one by one", []).append(asyncio.run(measured_raw(url, 1, alone)))
            rates.setdefault("stream, one by one", []).append(measured_plain(predict, alone))
    for name, found in rates.items():
        show(name, found, rates["raw, one by one" if "one by one" in name else "raw"])


def show(name: str, found: list[Rate], raw: list[Rate]) -> None:
    """The best of all rounds, beside the best of raw."""
    clock, cpu = max(rate.clock for rate in found), max(rate.cpu for rate in found)
    line = f"{name:20s}{clock:8.0f} pieces/s,{1e6 / cpu:6.2f} us of CPU each"
    if found is not raw:
        by_clock, by_cpu = clock / max(rate.clock for rate in raw), cpu / max(rate.cpu for rate in raw)
        came = min(rate.came for rate in found)
        line += f"; {by_clock:.2f}x raw, by CPU {by_cpu:.2f}x; {came:.3f} of the pieces came"
    print(line)


if __name__ == "__main__":
    main()
