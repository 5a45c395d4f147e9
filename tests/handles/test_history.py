"""What was sent and answered, for people."""

import asyncio
import io
from contextlib import aclosing

import pytest

import dspex
from dspex.core.events import RequestFinished
from dspex.plugin import BadRequest, Choice, LMDelta, LMResponse, Message, Secret, ToolCall, Usage

KEY = "sk-canary-4711"


class Provider:
    """Gives one reply, which has the key in it as a hostile server might."""

    capabilities = dspex.Capabilities(n=True)

    def __init__(self, *choices):
        self.reply = LMResponse(choices or (Choice(f"4 {KEY}"),), Usage(10, 5))

    async def complete(self, request):
        return self.reply


def lm(name, *choices):
    return dspex.LM(f"x/{name}", provider=Provider(*choices), cache=False, api_key=Secret(KEY))


def shown(inspect, n=1):
    file = io.StringIO()
    inspect(n, file=file)
    return file.getvalue()


def test_the_last_calls_of_all_lms_are_shown_in_order():
    a, b = lm("a"), lm("b")
    for one, question in [(a, "first?"), (b, "second?"), (a, "third?")]:
        one(question)
    text = shown(dspex.inspect_history, 2)
    assert "first?" not in text
    assert text.index("x/b, 10 tokens in, 5 out\n\nUser:\nsecond?") < text.index("x/a") < text.index("User:\nthird?")
    assert [word in shown(a.inspect_history, 9) for word in ("first?", "second?", "third?")] == [True, False, True]


def test_it_prints_to_standard_output(capsys):
    lm("a")("2+2?")
    dspex.inspect_history()
    assert "User:\n2+2?\n\nResponse:\n4" in capsys.readouterr().out


def test_without_calls_it_says_so():
    assert shown(dspex.inspect_history) == "No calls yet.\n"


def test_a_key_is_never_shown():
    one = lm("a").copy(extra_headers={"Authorization": f"Bearer {KEY}"})
    one(f"Is {KEY} a key?")
    text = shown(dspex.inspect_history)
    assert "Is *** a key?" in text
    assert KEY not in text


def test_each_kind_of_part_is_readable():
    content = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:x", "filename": "a.pdf"}},
    ]
    choices = Choice("", (ToolCall("1", "add", '{"a": 1}'),), reasoning="Hm."), Choice("cu", finish_reason="length")
    lm("a", *choices)(messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}], n=2)
    text = shown(dspex.inspect_history)
    for piece in (
        "System:\nBe brief.",
        "Look:\n<image data:image/png;base64,AAA",
        "(10022 characters)>",
        "<audio wav, 4 characters of base64>",
        "<file a.pdf>",
        "Response 1 of 2:\n<reasoning>\nHm.\n</reasoning>\n<tool call add",
        "Response 2 of 2:\ncu\n<ended by length>",
    ):
        assert piece in text
    assert len(text) < 1_000


@pytest.mark.parametrize("disabled", [False, True])
def test_the_history_of_an_app_is_bounded_and_can_be_off(disabled):
    dspex.configure(max_history_size=2, disable_history=disabled)
    for number in range(4):
        lm(f"m{number}")("?")
    text = shown(dspex.inspect_history, 9)
    assert [name for name in ("m0", "m1", "m2", "m3") if name in text] == ([] if disabled else ["m2", "m3"])


class Streaming(Provider):
    """Gives its reply in pieces."""

    async def stream(self, request):
        for text in ("fo", "ur"):
            yield LMDelta(text)
        yield LMDelta("", finish_reason="stop", usage=Usage(10, 5))


async def streamed(one, pieces=9):
    """The first pieces of a stream, which is then left."""
    got = []
    async with aclosing(one.stream(one.request((Message.of("user", "2+2?"),), {}))) as deltas:
        async for delta in deltas:
            got.append(delta.text)
            if len(got) == pieces:
                break
    return got


@pytest.mark.parametrize("provider", [Streaming, Provider], ids=["native", "whole"])
async def test_a_stream_is_a_call_like_any_other(provider):
    one, heard = dspex.LM("x/a", provider=provider(Choice("four")), cache=False), []
    async with dspex.App() as app:
        app.bus.subscribe(heard.append, "test")
        with dspex.track_usage() as usage:
            assert "".join(await streamed(one)) == "four"
        text = shown(dspex.inspect_history)
    assert "Response:\nfour" in text
    assert one.history[0]["usage"]["prompt_tokens"] == usage.total.input_tokens == 10
    assert [event.usage.output_tokens for event in heard if isinstance(event, RequestFinished)] == [5]


async def test_what_came_of_a_stream_that_was_left_is_counted():
    one, heard = dspex.LM("x/a", provider=Streaming()), []
    async with dspex.App() as app:
        app.bus.subscribe(heard.append, "test")
        with dspex.track_usage() as usage:
            await streamed(one, 1)
    assert (usage.total.calls, usage.total.estimated) == (1, True)
    assert [event.error for event in heard if isinstance(event, RequestFinished)] == [None]
    assert not one.history


class Cache:
    """A CacheBackend in memory."""

    def __init__(self):
        self.kept = {}

    async def get(self, key):
        return self.kept.get(key)

    async def set(self, key, value, ttl=None):
        self.kept[key] = value

    async def aclose(self):
        pass


def test_a_hit_costs_nothing_in_the_history():
    dspex.configure(cache=Cache())
    one = dspex.LM("x/a", provider=Provider())
    for _ in range(3):
        one("2+2?")
    assert [entry["usage"] and entry["usage"]["prompt_tokens"] for entry in one.history] == [10, {}, {}]
    assert [entry["outputs"] for entry in one.history] == [[f"4 {KEY}"]] * 3


async def test_apps_have_histories_of_their_own():
    await lm("a").acall("outer?")
    async with dspex.App():
        await lm("b").acall("inner?")
        assert "outer?" not in shown(dspex.inspect_history, 9)
    assert "inner?" not in shown(dspex.inspect_history, 9)


class Failing:
    """Fails as it is told; a stream of it breaks after a piece."""

    async def complete(self, request):
        if request.messages[-1].text == "slow":
            await asyncio.sleep(60)
        raise BadRequest("no such model")

    async def stream(self, request):
        yield LMDelta("fo")
        raise BadRequest("gone")


async def test_a_call_that_failed_or_was_cancelled_stands_in_the_history():
    one = dspex.LM("x/f", provider=Failing(), cache=False)
    with pytest.raises(BadRequest):
        await one.acall("bad")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(one.acall("slow"), 0.01)
    with pytest.raises(BadRequest):
        await streamed(one)
    errors = [(entry["error"], entry["outputs"]) for entry in one.history]
    assert errors == [
        ("BadRequest: [x/f] no such model", []),
        ("CancelledError", []),
        ("BadRequest: [x/f] gone", ["fo"]),
    ]
    assert "Error:\nBadRequest: [x/f] no such model" in shown(dspex.inspect_history, 3)


def test_a_history_is_bounded_in_characters_too():
    dspex.configure(max_history_characters=10_000)
    one = lm("m0")
    for number in range(30):
        one(f"{number} {'x' * 3_000}")
    assert [entry["messages"][0]["content"][:2] for entry in one.history] == ["27", "28", "29"]
    one("?" * 50_000)
    assert len(one.history) <= 1
    one("short")
    assert one.history[-1]["messages"][0]["content"] == "short"


def test_headers_under_their_other_name_are_headers_and_no_parameter():
    one = dspex.LM("x/h", provider=Provider(Choice("4")), extra_headers={"authorization": "Bearer sk-canary-4711"})
    one("?")
    assert "canary" not in f"{one.history} {vars(one)} {one.kwargs}"
    assert one.service.endpoint.headers["authorization"] == "Bearer sk-canary-4711"
