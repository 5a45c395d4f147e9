"""The server keeps answering while its background work is killed and its model's connections break."""

import asyncio
import importlib.util
import json
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

import dspex
from dspex.testing import FaultServer

ANSWER = {
    "choices": [{"message": {"content": "[[ ## draft ## ]]\nx\n\n[[ ## answer ## ]]\n4"}, "finish_reason": "stop"}]
}
FAULTS = ["reset", "503", "short body", "web page, 502"]
REQUESTS, AT_ONCE = 300, 30
KILLS = (51, 120, 201)  # one more within five seconds, and the App gives up


def example():
    spec = importlib.util.spec_from_file_location("server", Path(__file__).parent / "server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kill_one_of_the_children(number):
    children = [task for task in asyncio.all_tasks() if task.get_name().startswith("app:")]
    sorted(children, key=lambda task: task.get_name())[number % len(children)].cancel()


@pytest.mark.fault("R22")
@pytest.mark.fault("P19")
@pytest.mark.parametrize("cache", [False, "sqlite"])
async def test_no_answer_is_lost_while_children_are_killed(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path))
    heard, numbers, answered = [], iter(range(REQUESTS)), []
    with FaultServer() as model:
        for number in range(400):
            model.then(200, json=ANSWER) if number % 5 else model.then_fault(
                FAULTS[number // 5 % 4], json.dumps(ANSWER)
            )
        model.then(200, json=ANSWER, times=None)
        lm = dspex.LM("openai/acme-1", api_base=f"{model.url}/v1", api_key="k", breaker=False)
        module = example()
        site = module.server(lm, tmp_path / "answers.jsonl", cache=cache)
        async with TestClient(TestServer(site)) as client:
            app = site[module.APP]
            app.bus.subscribe(heard.append, "test")

            async def ask():
                for number in numbers:
                    async with client.post("/ask", json={"question": f"What is {number}?"}) as reply:
                        assert (reply.status, (await reply.json())["answer"]) == (200, "4")
                    answered.append(number)
                    if len(answered) in KILLS:
                        kill_one_of_the_children(len(answered))

            await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
            async with client.get("/health") as reply:
                rows = await reply.json()
                assert reply.status == 200
            assert await asyncio.to_thread(model.wait, lambda server: server.in_flight == 0)
    assert sorted(answered) == list(range(REQUESTS))
    assert {row["name"] for row in rows} >= ({"record", "cache"} if cache else {"record"})
    assert sum(row["restarts"] for row in rows) == len(KILLS)
    assert [type(event).__name__ for event in heard].count("ChildRestarted") == len(KILLS)
    written = [json.loads(line)["question"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert sorted(written) == sorted(f"What is {number}?" for number in range(REQUESTS))
