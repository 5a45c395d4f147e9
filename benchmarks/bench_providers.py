"""The price of a call by each provider that is installed: dspex beside aiohttp and msgspec by hand, in interleaved rounds.

    python benchmarks/bench_providers.py [--rounds 5] [--calls 800]

Prints the process CPU of one call in microseconds: of raw aiohttp with that vendor's bytes, of `lm.complete`, of `Predict`. The three take
turns every 50 calls, and each is compared with the raw calls just before it, so that a busy machine holds up all alike.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import aiohttp
import msgspec
from vendor_server import vendor_server

import dspex
from dspex.plugin import Message

QUESTION = "[[ ## question ## ]]\n{}"


class Way(NamedTuple):
    """A provider: how a handle is made, and what the same request is by hand."""

    name: str
    model: str
    base: str
    path: str
    body: Callable[[str], dict[str, Any]]
    options: dict[str, Any] = {}  # noqa: RUF012  read only
    without_key: bool = False


def chat(text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


WAYS = [
    Way("openai chat", "openai/m", "/v1", "/v1/chat/completions", chat),
    Way("openai text", "openai/m", "/v1", "/v1/completions", lambda text: {"model": "m", "prompt": text}, {"model_type": "text"}),
    Way(
        "openai responses", "openai/m", "/v1", "/v1/responses",
        lambda text: {"model": "m", "input": [{"role": "user", "content": text}]}, {"model_type": "responses"},
    ),
    Way("azure chat", "azure/m", "", "/openai/v1/chat/completions", chat),
    Way("mistral chat", "mistral/m", "/v1", "/v1/chat/completions", chat, {"seed": 1}),
    Way(
        "anthropic", "anthropic/m", "", "/v1/messages",
        lambda text: {"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]},
    ),
    Way(
        "gemini", "gemini/m", "", "/models/m:generateContent",
        lambda text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    ),
    Way("ollama", "ollama/m", "", "/api/chat", lambda text: {**chat(text), "stream": False}, {"learn": False}),
    Way(
        "bedrock, key", "bedrock/m", "", "/model/m/converse",
        lambda text: {"messages": [{"role": "user", "content": [{"text": text}]}]},
    ),
    Way(
        "bedrock, signed", "bedrock/m", "", "/model/m/converse",
        lambda text: {"messages": [{"role": "user", "content": [{"text": text}]}]}, {"region": "us-east-1"}, True,
    ),
    Way("litellm", "litellm/openai/m", "/v1", "/v1/chat/completions", chat),
]  # fmt: skip


TURN = 50  # calls
Call = Callable[[str], Awaitable[Any]]


async def cpu(call: Call, calls: int) -> float:
    """CPU seconds of one call."""
    began = time.process_time()
    for index in range(calls):
        await call(f"question {index}")
    return (time.process_time() - began) / calls


async def in_turns(calls: int, *ways: Call) -> list[tuple[float, ...]]:
    """CPU seconds of one call by each way, a row a turn."""
    for way in ways:
        await cpu(way, TURN)  # what is loaded and opened once
    return [tuple([await cpu(way, TURN) for way in ways]) for _ in range(max(1, calls // TURN))]


async def measured(way: Way, url: str, calls: int) -> list[tuple[float, ...]]:
    key = {} if way.without_key else {"api_key": "k"}
    lm = dspex.LM(way.model, api_base=url + way.base, cache=False, **key, **way.options)
    predict = dspex.Predict("question -> answer")
    predict.lm = lm

    async def whole(question: str) -> None:
        reply = await lm.complete(lm.request((Message.of("user", QUESTION.format(question)),), {}))
        assert "Paris" in reply.text

    async def predicted(question: str) -> None:
        assert "Paris" in (await predict.acall(question=question)).answer

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def raw(question: str) -> None:
            data = msgspec.json.encode(way.body(QUESTION.format(question)))
            headers = {"content-type": "application/json", "authorization": "Bearer k"}
            async with session.post(url + way.path, data=data, headers=headers) as reply:
                assert b"Paris" in msgspec.json.encode(msgspec.json.decode(await reply.read()))

        return await in_turns(calls, raw, whole, predicted)


def installed(way: Way) -> bool:
    """Whether the package that offers the provider is there."""
    try:
        return dspex.LM(way.model, api_base="http://127.0.0.1:9", **way.options).capabilities is not None
    except dspex.ConfigurationError:
        return False


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--calls", type=int, default=800)
    arguments.add_argument("--only", default="")
    given = arguments.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s", "AWS_EC2_METADATA_DISABLED": "true"}
    dspex.configure(cache=False)
    ways = [way for way in WAYS if given.only in way.name and installed(way)]
    rows: dict[str, list[tuple[float, ...]]] = {way.name: [] for way in ways}
    with vendor_server() as url:
        for _ in range(given.rounds):
            for way in ways:
                rows[way.name] += asyncio.run(measured(way, url, given.calls))
    for name, turns in rows.items():
        raw, whole, predicted = (statistics.median(turn[place] for turn in turns) * 1e6 for place in range(3))
        by_whole, by_predict = (statistics.median(turn[place] / turn[0] for turn in turns) for place in (1, 2))
        print(
            f"{name:17} raw {raw:5.0f}, complete {whole:5.0f} ({by_whole:.2f}x), Predict {predicted:5.0f} ({by_predict:.2f}x) us"
        )


if __name__ == "__main__":
    main()
