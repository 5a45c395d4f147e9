"""The price of a call: dspex beside aiohttp and msgspec by hand, against the same server, in interleaved rounds.

    python benchmarks/bench_call.py [--rounds 5] [--calls 1500] [--demos 0]

Needs dspex-openai. Prints the process CPU of one call in microseconds and its ratio to raw; raw is always async, and sends the
same demos, which it has as messages already.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
from mock_server import mock_server

import dspex


class Reply(msgspec.Struct):
    choices: list[dict[str, msgspec.Raw]]


class Message(msgspec.Struct):
    content: str


Turns = list[dict[str, str]]


def demos_of(count: int) -> tuple[list[dspex.Example], Turns]:
    """So many demos, as a program and as a server is given them."""
    demos = [dspex.Example(question=f"Which city is number {n}?", answer=f"City {n}") for n in range(count)]
    turns: Turns = []
    for demo in demos:
        turns.append({"role": "user", "content": f"[[ ## question ## ]]\n{demo.question}"})
        turns.append({"role": "assistant", "content": f"[[ ## answer ## ]]\n{demo.answer}\n\n[[ ## completed ## ]]"})
    return demos, turns


async def raw_call(session: aiohttp.ClientSession, url: str, question: str, turns: Turns) -> str:
    asked = {"role": "user", "content": f"[[ ## question ## ]]\n{question}"}
    body = {"model": "mock", "messages": [*turns, asked]}
    async with session.post(url, data=msgspec.json.encode(body), headers={"content-type": "application/json"}) as reply:
        decoded = msgspec.json.decode(await reply.read(), type=Reply)
    text = msgspec.json.decode(decoded.choices[0]["message"], type=Message).content
    return text.split("[[ ## answer ## ]]", 1)[1].split("[[", 1)[0].strip()


async def one_by_one(call: Callable[[str], Awaitable[str]], calls: int) -> float:
    """CPU seconds of one call."""
    for index in range(30):
        await call(f"warm {index}")
    began = time.process_time()
    for index in range(calls):
        assert await call(f"question {index}") == "Paris"
    return (time.process_time() - began) / calls


async def measured_raw(url: str, calls: int, turns: Turns) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await one_by_one(lambda question: raw_call(session, f"{url}/chat/completions", question, turns), calls)


async def measured_async(predict: dspex.Predict, calls: int) -> float:
    async def call(question: str) -> str:
        return str((await predict.acall(question=question)).answer)

    return await one_by_one(call, calls)


def measured_sync(predict: dspex.Predict, calls: int) -> float:
    for index in range(30):
        predict(question=f"warm {index}")
    began = time.process_time()
    for index in range(calls):
        assert predict(question=f"question {index}").answer == "Paris"
    return (time.process_time() - began) / calls


async def throughput(call: Callable[[str], Awaitable[str]], workers: int, calls: int) -> float:
    """Calls a second of `workers` that take one question after another."""
    questions = iter(range(calls))

    async def work() -> None:
        for index in questions:
            assert await call(f"question {index}") == "Paris"

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(workers)))
    return calls / (time.perf_counter() - began)


async def raw_throughput(url: str, workers: int, calls: int, turns: Turns) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await throughput(lambda q: raw_call(session, f"{url}/chat/completions", q, turns), workers, calls)


async def dspex_throughput(predict: dspex.Predict, workers: int, calls: int) -> float:
    async def call(question: str) -> str:
        return str((await predict.acall(question=question)).answer)

    return await throughput(call, workers, calls)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--calls", type=int, default=1500)
    arguments.add_argument("--demos", type=int, default=0)
    given = arguments.parse_args()
    dspex.configure(cache=False)
    with mock_server() as url:
        predict = dspex.Predict("question -> answer")
        predict.demos, turns = demos_of(given.demos)
        predict.lm = dspex.LM("openai/mock", api_base=url, api_key="none", cache=False)
        rows: dict[str, list[float]] = {"raw": [], "async": [], "sync": []}
        for _ in range(given.rounds):
            rows["raw"].append(asyncio.run(measured_raw(url, given.calls, turns)))
            rows["async"].append(asyncio.run(measured_async(predict, given.calls)))
            rows["sync"].append(measured_sync(predict, given.calls))
    raw = min(rows["raw"])
    for name, seconds in rows.items():
        print(
            f"{name:6} {min(seconds) * 1e6:7.0f} us a call (median {statistics.median(seconds) * 1e6:.0f}), {min(seconds) / raw:.2f}x raw"
        )
    with mock_server(0.05) as url:
        predict.lm = dspex.LM("openai/mock", api_base=url, api_key="none", cache=False)
        for workers, calls in ((64, 2000), (512, 6000), (2000, 8000)):
            pairs = []
            for _ in range(max(1, given.rounds // 2)):
                ours = asyncio.run(dspex_throughput(predict, workers, calls))
                pairs.append((ours, asyncio.run(raw_throughput(url, workers, calls, turns))))
            ours, theirs = max(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
            print(f"{workers:5} in flight: {ours:6.0f}/s, raw {theirs:6.0f}/s, {ours / theirs:.2f}x raw")


if __name__ == "__main__":
    main()
