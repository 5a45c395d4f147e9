"""A run is recorded in a file, and played from it with nobody asked."""

import asyncio
import json
import stat
import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dspex
from dspex.core.errors import CassetteError, CassetteMiss
from dspex.plugin import Passage, RateLimited, Unavailable
from dspex.streaming import StreamListener

PREDICT = dspex.Predict("question -> answer")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "runs" / "one.jsonl"


def lm_of(provider, **options):
    return dspex.LM("x/y", provider=provider, **{"cache": False, **options})


async def answers(lm, *questions):
    with dspex.context(lm=lm):
        return [(await PREDICT.acall(question=question)).answer for question in questions]


async def test_what_was_recorded_is_played_and_nobody_is_asked(file, live):
    provider = live()
    async with dspex.cassette(file, mode="record"):
        recorded = await answers(lm_of(provider), "a?", "b?", "a?")
    async with dspex.cassette(file, mode="replay"):
        played = await answers(lm_of(provider), "a?", "b?", "a?")
    assert recorded == played == ["1", "2", "3"]
    assert provider.asked == 3


def test_a_sync_program_is_recorded_and_played(file, live):
    provider = live()
    for _ in range(2):
        with dspex.cassette(file), dspex.context(lm=lm_of(provider)):
            assert PREDICT(question="a?").answer == "1"
    assert provider.asked == 1


async def test_a_replay_needs_no_plugin_key_or_network(file, live):
    provider = live()
    async with dspex.cassette(file, mode="record"):
        await answers(dspex.LM("openai/gpt-x", provider=provider, temperature=0.5), "a?")
    async with dspex.cassette(file, mode="replay"):
        assert await answers(dspex.LM("openai/gpt-x", temperature=0.5), "a?") == ["1"]


async def test_a_missing_call_shows_the_nearest_one(file, live):
    async with dspex.cassette(file, mode="record"):
        await answers(lm_of(live()), "What is the capital of France?", "How far is the moon?")
    async with dspex.cassette(file, mode="replay"):
        with pytest.raises(CassetteMiss) as caught:
            await answers(lm_of(live()), "What is the capital of Spain?")
        assert "-" in str(caught.value)
        assert "What is the capital of France?" in str(caught.value)
        assert "What is the capital of Spain?" in str(caught.value)
        assert "moon" not in str(caught.value)
        with pytest.raises(CassetteMiss, match="has this request 1 times, and it was made once more"):
            await answers(lm_of(live()), "How far is the moon?", "How far is the moon?")


async def test_auto_records_what_the_file_lacks(file, live):
    provider = live()
    for questions, asked in ((["a?"], 1), (["a?", "b?"], 2), (["a?", "b?", "a?"], 3), (["a?", "b?", "a?"], 3)):
        async with dspex.cassette(file):
            assert await answers(lm_of(provider), *questions) == ["1", "2", "3"][: len(questions)]
        assert provider.asked == asked


async def test_record_begins_anew(file, live):
    provider = live()
    for number in ("1", "2"):
        async with dspex.cassette(file, mode="record"):
            assert await answers(lm_of(provider), "a?") == [number]
    async with dspex.cassette(file, mode="replay"):
        assert await answers(lm_of(provider), "a?") == ["2"]


async def test_calls_at_once_are_kept_apart_and_equal_ones_come_in_order(file, live):
    provider = live()
    questions = [f"{number % 10}?" for number in range(50)]

    async def run():
        with dspex.context(lm=lm_of(provider)):
            got = await asyncio.gather(*(PREDICT.acall(question=question) for question in questions))
        return sorted((question, one.answer) for question, one in zip(questions, got, strict=True))

    async with dspex.cassette(file):
        recorded = await run()
    async with dspex.cassette(file, mode="replay"):
        assert await run() == recorded
    assert provider.asked == 50


async def test_streams_are_played_in_their_pieces(file, live):
    provider = live("[[ ## answer ## ]]\nParis, as far as is known.")
    streamed = dspex.streamify(PREDICT, stream_listeners=[StreamListener("answer")])

    async def run():
        with dspex.context(lm=lm_of(provider)):
            return [item async for item in streamed(question="a?")]

    async with dspex.cassette(file):
        *recorded, last = await run()
    async with dspex.cassette(file, mode="replay"):
        *played, again = await run()
        assert len(played) > 4
        assert (played, again.answer) == (recorded, last.answer)
    async with dspex.cassette(file, mode="replay"):
        assert await answers(lm_of(provider), "a?") == [last.answer]
    assert provider.asked == 1


async def test_a_plain_call_is_played_as_a_stream_of_one_piece(file, live):
    async with dspex.cassette(file):
        await answers(lm_of(live()), "a?")
    streamed = dspex.streamify(PREDICT, stream_listeners=[StreamListener("answer")])
    async with dspex.cassette(file, mode="replay"):
        with dspex.context(lm=lm_of(live())):
            *items, last = [item async for item in streamed(question="a?")]
    assert "".join(item.chunk for item in items) == last.answer == "1"


async def test_a_stream_that_was_left_is_played_as_far_as_it_was_read(file, live):
    streamed = dspex.streamify(PREDICT, stream_listeners=[StreamListener("answer")])

    async def first():
        with dspex.context(lm=lm_of(live("[[ ## answer ## ]]\nParis, as far as is known, of course."))):
            return await anext(streamed(question="a?"))

    async with dspex.cassette(file):
        recorded = await first()
    async with dspex.cassette(file, mode="replay"):
        assert await first() == recorded


@pytest.mark.parametrize("way", ["call", "stream"])
async def test_errors_are_raised_again_without_a_retry(file, live, way):
    provider = live(Unavailable("down", status=503), RateLimited("slow", retry_after=7.0))

    async def run():
        call = dspex.streamify(PREDICT) if way == "stream" else None
        with dspex.context(lm=lm_of(provider, num_retries=0)):
            if call is not None:
                return [item async for item in call(question="a?")]
            return await PREDICT.acall(question="a?")

    async def failures():
        found = []
        for _ in range(2):
            with pytest.raises(dspex.LMError) as caught:
                await run()
            found.append((type(caught.value), str(caught.value), caught.value.status, caught.value.retry_after))
        return found

    async with dspex.cassette(file):
        recorded = await failures()
    async with dspex.cassette(file, mode="replay"):
        assert await failures() == recorded
    assert [kind for kind, *_ in recorded] == [Unavailable, RateLimited]
    assert provider.asked == 2


async def test_calls_cost_in_a_replay_what_they_cost_then(file, live, kept):
    provider = live()

    async def run(limit):
        with dspex.budget(calls=limit) as budget, dspex.track_usage() as usage:
            await answers(lm_of(provider, cache=True), "a?", "a?", "b?")
        return budget.spent.calls, usage.total.total_tokens

    async with dspex.App(cache=kept), dspex.cassette(file):
        recorded = await run(2)
    async with dspex.cassette(file, mode="replay"):
        assert await run(2) == recorded == (2, 30)
    async with dspex.cassette(file, mode="replay"):
        with pytest.raises(dspex.BudgetExceeded):
            await run(1)


async def test_embeddings_and_searches_are_played(file):
    asked = []

    def embed(texts):
        asked.extend(texts)
        return [[float(len(text)), 0.5] for text in texts]

    class Index:
        async def retrieve(self, query, k):
            asked.append(query)
            return [Passage(f"{query} {place}", score=1.0 / (place + 1)) for place in range(k)]

    async def run():
        embedder = dspex.Embedder(embed)
        vectors = await embedder.acall(["a", "bb", "a"])
        return [list(map(float, row)) for row in vectors], await dspex.Retriever("mine", provider=Index()).acall(
            "why?", k=2
        )

    async with dspex.cassette(file):
        recorded = await run()
    count = len(asked)
    async with dspex.cassette(file, mode="replay"):
        assert await run() == recorded
        with pytest.raises(CassetteMiss, match=r"nearest.*\n.*bb"):
            await dspex.Embedder(embed).acall(["a", "ccc"])
        with pytest.raises(CassetteMiss, match="why"):
            await dspex.Retriever("mine", provider=Index()).acall("what?", k=2)
    assert len(asked) == count


async def test_a_handle_goes_on_as_before_after_a_replay(file, live):
    provider = live()
    lm = lm_of(provider)
    async with dspex.cassette(file):
        await answers(lm, "a?")
    async with dspex.cassette(file, mode="replay"):
        assert await answers(lm, "a?") == ["1"]
    assert await answers(lm, "a?") == ["2"]


@pytest.fixture
def kept():
    """A cache in memory."""

    class Memory:
        def __init__(self):
            self.rows = {}

        async def get(self, key):
            return self.rows.get(key)

        async def set(self, key, value, ttl=None):
            self.rows[key] = value

        async def delete(self, key):
            self.rows.pop(key, None)

        async def aclose(self):
            self.rows.clear()

    return Memory()


# Secrets

CANARY = "sk-canary-0123456789-abcdef"


async def test_no_secret_is_written(file, live, monkeypatch):
    monkeypatch.setenv("OTHER_API_KEY", "env-canary-0123456789")

    class Echo(live):
        async def complete(self, request):
            raise Unavailable(f"bad key {CANARY}")

    told = f"My keys are {CANARY}, header-canary-99887766 and env-canary-0123456789."
    options = {
        "api_key": CANARY,
        "headers": {"x-token": "header-canary-99887766"},
        "base_url": "https://host.example/v1",
        "extra_headers": {"authorization": "Bearer param-canary-5544"},
        "num_retries": 0,
    }
    async with dspex.cassette(file):
        lm = lm_of(live(f"[[ ## answer ## ]]\n{CANARY} and more"), **options)
        assert await answers(lm, told) == [f"{CANARY} and more"]
        with pytest.raises(Unavailable):
            await answers(lm_of(Echo(), **options), told)
        broken = lm_of(live(), **{**options, "base_url": "https://user:url-canary-1@host.example/v1?key=url-canary-2"})
        await answers(broken, "b?")
    text = file.read_text()
    assert "canary" not in text.replace("env-canary", "canary")
    assert text.count("***") >= 4
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with dspex.cassette(file, mode="replay"):
        assert await answers(lm_of(live(), **options), told) == ["*** and more"]


@pytest.mark.parametrize("key", ["k", "call", "text", "null", "kind"])
async def test_a_key_that_reads_like_a_part_of_the_file_spoils_none(file, live, key):
    lm = lm_of(live(), api_key=key)
    async with dspex.cassette(file):
        assert await answers(lm, "a?", f"is {key} my key?") == ["1", "2"]
    async with dspex.cassette(file, mode="replay"):
        assert await answers(lm, "a?", f"is {key} my key?") == ["1", "2"]


async def test_a_secret_in_a_passage_is_not_written_either(file, monkeypatch):
    monkeypatch.setenv("OTHER_API_KEY", CANARY)

    class Shelf:
        async def retrieve(self, query, k):
            return [dspex.Passage(f"the key is {CANARY}", metadata={"from": CANARY})]

    shelf = dspex.Retriever("shelf", provider=Shelf())
    async with dspex.cassette(file):
        await shelf.acall("keys?")
    async with dspex.cassette(file, mode="replay"):
        assert await shelf.acall("keys?") == [dspex.Passage("the key is ***", metadata={"from": "***"})]


# The file


async def test_a_torn_tail_is_dropped_and_recorded_anew(file, live):
    provider = live()
    async with dspex.cassette(file):
        await answers(lm_of(provider), "a?", "b?")
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    async with dspex.cassette(file, mode="replay"):
        assert await answers(lm_of(provider), "a?") == ["1"]
        with pytest.raises(CassetteMiss):
            await answers(lm_of(provider), "b?")
    async with dspex.cassette(file):
        assert await answers(lm_of(provider), "a?", "b?") == ["1", "3"]
    async with dspex.cassette(file, mode="replay"):
        assert await answers(lm_of(provider), "a?", "b?") == ["1", "3"]


@pytest.mark.slow
@settings(max_examples=60)
@given(st.integers(0, 100_000), st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_a_torn_tail(tmp_path_factory, recorded_bytes, place, bit):
    data = bytearray(recorded_bytes)
    data[place % len(data)] ^= 1 << bit
    file = tmp_path_factory.mktemp("flipped") / "one.jsonl"
    file.write_bytes(data)
    last_line = recorded_bytes[:-1].rindex(b"\n")
    try:
        with dspex.cassette(file, mode="replay"):
            assert place % len(data) > last_line
    except CassetteError:
        assert place % len(data) <= last_line or data[-1:] != b"\n"


def line(row):
    text = json.dumps(row, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(text), text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (line({"n": 0, "t": "cassette", "format": 9}), r"line 1.*format 9, and only 1"),
        (line({"n": 0, "t": "run", "format": 1, "id": "x", "identity": {}}), r"does not begin with a header"),
        (
            line({"n": 0, "t": "cassette", "format": 1}) + line({"n": 1, "t": "step"}) * 2,
            r"line 2.*not a line of a cassette",
        ),
        (line({"n": 0, "t": "source", "kind": "lm", "name": "x"}), r"does not begin with a header"),
        (b"somebody's notes", r"does not begin with a header"),
    ],
    ids=["version", "journal", "record", "headless", "other"],
)
def test_another_file_is_refused_and_named(tmp_path, content, said):
    file = tmp_path / "other.jsonl"
    file.write_bytes(content)
    for mode in ("auto", "replay"):
        with pytest.raises(CassetteError, match=said) as caught:
            dspex.cassette(file, mode=mode).__enter__()
        assert str(file) in str(caught.value)
    assert file.read_bytes() == content


def test_a_file_that_is_something_else_is_not_recorded_over(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("somebody's notes\n")
    with pytest.raises(CassetteError, match="is no cassette"):
        dspex.cassette(file, mode="record").__enter__()
    assert file.read_text() == "somebody's notes\n"


def test_a_replay_of_nothing_and_an_unknown_mode_are_errors(tmp_path):
    with pytest.raises(CassetteError, match="There is no cassette"):
        dspex.cassette(tmp_path / "none.jsonl", mode="replay").__enter__()
    with pytest.raises(CassetteError, match="'auto', 'record', 'replay'"):
        dspex.cassette(tmp_path / "none.jsonl", mode="once")


async def test_one_file_is_recorded_by_one_run_at_a_time(file, live):
    async with dspex.cassette(file, mode="record"):
        with pytest.raises(CassetteError, match="being recorded by somebody else"):
            dspex.cassette(file, mode="record").__enter__()


@pytest.fixture(scope="module")
def recorded_bytes(tmp_path_factory):
    file = tmp_path_factory.mktemp("recorded") / "one.jsonl"
    source = (
        "import dspex\nfrom dspex.testing import DummyLM\n"
        f"with dspex.cassette({str(file)!r}), dspex.context(lm=DummyLM([{{'answer': 'a'}}, {{'answer': 'b'}}])):\n"
        "    for question in 'ab': dspex.Predict('question -> answer')(question=question)\n"
    )
    subprocess.run(
        [sys.executable, "-c", source], check=True, env={"PYTHONPATH": ":".join(sys.path), "DSPEX_PLUGINS": "none"}
    )
    return file.read_bytes()
