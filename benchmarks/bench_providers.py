"""The price of a call by each provider that is installed: dspex beside aiohttp and msgspec by hand, in interleaved rounds.

    python benchmarks/bench_providers.py [--rounds 5] [--calls 800]

Prints the process CPU of one call in microseconds: of raw aiohttp with the bytes that Predict sends that vendor, signed where it wants that,
of `lm.complete`, of `Predict`; beside dspex-litellm stands LiteLLM alone. The three take turns every 50 calls, and each is compared with the raw calls just before it, so that a busy
machine holds up all alike.
"""

import argparse
import asyncio
import hashlib
import hmac
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

SIGNATURE = "question -> answer"
QUESTION = "[[ ## question ## ]]\n{}"


class Way(NamedTuple):
    """A provider: how a handle is made, and what the body of a request of it is by hand, of a system prompt and a question."""

    name: str
    model: str
    base: str
    path: str
    body: Callable[[str, str], dict[str, Any]]
    options: dict[str, Any] = {}  # noqa: RUF012  read only
    is_signed: bool = False


def chat(system: str, text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}]}


def converse(system: str, text: str) -> dict[str, Any]:
    return {"system": [{"text": system}], "messages": [{"role": "user", "content": [{"text": text}]}]}


WAYS = [
    Way("openai chat", "openai/m", "/v1", "/v1/chat/completions", chat),
    Way(
        "openai text", "openai/m", "/v1", "/v1/completions",
        lambda system, text: {"model": "m", "prompt": system + text, "stop": ["\n"]}, {"model_type": "text"},
    ),
    Way(
        "openai responses", "openai/m", "/v1", "/v1/responses",
        lambda system, text: {"model": "m", "input": chat(system, text)["messages"]}, {"model_type": "responses"},
    ),
    Way("azure chat", "azure/m", "", "/openai/v1/chat/completions", chat),
    Way("mistral chat", "mistral/m", "/v1", "/v1/chat/completions", chat, {"seed": 1}),
    Way(
        "anthropic", "anthropic/m", "", "/v1/messages",
        lambda system, text: {"model": "m", "max_tokens": 4096, "system": [{"type": "text", "text": system}],
                              "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]},
    ),
    Way(
        "gemini", "gemini/m", "", "/models/m:generateContent",
        lambda system, text: {"systemInstruction": {"parts": [{"text": system}]}, "contents": [{"role": "user", "parts": [{"text": text}]}]},
    ),
    Way("ollama", "ollama/m", "", "/api/chat", lambda system, text: {**chat(system, text), "stream": False}, {"learn": False}),
    Way("bedrock, key", "bedrock/m", "", "/model/m/converse", converse),
    Way("bedrock, signed", "bedrock/m", "", "/model/m/converse", converse, {"region": "us-east-1"}, is_signed=True),
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
    key = {} if way.is_signed else {"api_key": "k"}
    lm = dspex.LM(way.model, api_base=url + way.base, cache=False, **key, **way.options)
    predict = dspex.Predict(SIGNATURE)
    predict.lm = lm
    chosen = dspex.PlainAdapter() if way.options.get("model_type") == "text" else dspex.ChatAdapter()
    said = [message.text for message in chosen.render(dspex.Signature(SIGNATURE), (), {"question": "{}"})]
    system, question_in = said if len(said) == 2 else ("", said[0])
    headers_of = signer(f"127.0.0.1:{url.rpartition(':')[2]}", way.path) if way.is_signed else bearer

    async def whole(question: str) -> None:
        turns = (Message.of("system", system),) * bool(system) + (
            Message.of("user", question_in.replace("{}", question)),
        )
        reply = await lm.complete(lm.request(turns, {}))
        assert "Paris" in reply.text

    async def predicted(question: str) -> None:
        assert "Paris" in (await predict.acall(question=question)).answer

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def raw(question: str) -> None:
            data = msgspec.json.encode(way.body(system, question_in.replace("{}", question)))
            async with session.post(url + way.path, data=data, headers=headers_of(data)) as reply:
                assert b"Paris" in msgspec.json.encode(msgspec.json.decode(await reply.read()))

        return await in_turns(calls, by_litellm(way, url) if way.name == "litellm" else raw, whole, predicted)


def by_litellm(way: Way, url: str) -> Call:
    """The same by LiteLLM alone: what a bridge can be compared with is what it bridges to."""
    import litellm

    async def alone(question: str) -> None:
        turns = chat("Answer.", QUESTION.format(question))["messages"]
        reply = await litellm.acompletion(
            way.model.partition("/")[2], turns, api_base=url + way.base, api_key="k", num_retries=0
        )
        assert "Paris" in reply.choices[0].message.content

    return alone


def bearer(_: bytes) -> dict[str, str]:
    return {"content-type": "application/json", "authorization": "Bearer k"}


def signer(host: str, path: str) -> Callable[[bytes], dict[str, str]]:
    """Signature Version 4 by hand, for one path and day: no less can be done a request."""
    day, names = time.strftime("%Y%m%d", time.gmtime()), "content-type;host;x-amz-date"
    key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in (day, "us-east-1", "bedrock", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")

    def headers(body: bytes) -> dict[str, str]:
        now, scope = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), f"{day}/us-east-1/bedrock/aws4_request"
        lines = f"content-type:application/json\nhost:{host}\nx-amz-date:{now}\n"
        asked = f"POST\n{path}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        told = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        signature = hmac.digest(key, told.encode(), "sha256").hex()
        who = f"AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders={names}, Signature={signature}"
        return {"content-type": "application/json", "x-amz-date": now, "authorization": who}

    return headers


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
