"""The price of a streamed piece: streamify with a StreamListener beside aiohttp and msgspec by hand, in interleaved rounds.

    python benchmarks/bench_stream.py [--rounds 5] [--streams 64] [--turns 10]

Needs dspex-openai. Prints pieces a second of that many streams at once, their ratio to raw, and the share of pieces that
arrived; raw reads lines and keeps one decoder.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
from mock_server import PIECES, mock_server

import dspex


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


async def measured_dspex(predict: dspex.Predict, streams: int, turns: int) -> tuple[float, float]:
    streamed = dspex.streamify(predict, stream_listeners=[dspex.streaming.StreamListener("answer")])

    async def stream(question: str) -> int:
        chunks = []
        async for item in streamed(question=question):
            if isinstance(item, dspex.Prediction):
                assert item.answer == "".join(chunks) == EXPECTED.strip()
            elif item.chunk:
                chunks.append(item.chunk)
        return len(chunks)

    return await at_once(stream, streams, turns)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--streams", type=int, default=64)
    arguments.add_argument("--turns", type=int, default=10)
    given = arguments.parse_args()
    dspex.configure(cache=False)
    with mock_server() as url:
        predict = dspex.Predict("question -> answer")
        predict.lm = dspex.LM("openai/mock", api_base=url, api_key="none", cache=False)
        pairs = []
        for _ in range(given.rounds):
            raw = asyncio.run(measured_raw(url, given.streams, given.turns))
            pairs.append((asyncio.run(measured_dspex(predict, given.streams, given.turns)), raw))
    ours, raw = max(pair[0][0] for pair in pairs), max(pair[1][0] for pair in pairs)
    came = min(pair[0][1] for pair in pairs)
    print(
        f"raw      {raw:8.0f} pieces/s\nstreamify {ours:7.0f} pieces/s, {ours / raw:.2f}x raw, {came:.3f} of the pieces came"
    )


if __name__ == "__main__":
    main()
