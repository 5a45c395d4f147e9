"""stop_early: a typed field that can no longer become valid ends its reply, and the model is asked again."""

from datetime import date, time
from enum import Enum
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dspex
from dspex.core.errors import AdapterParseError
from dspex.program.fields import FieldInfo
from dspex.program.viable import Watch
from dspex.testing import DummyLM

CHAT, JSON, XML, PLAIN = dspex.ChatAdapter(), dspex.JSONAdapter(), dspex.XMLAdapter(), dspex.PlainAdapter()
TAIL = 500  # characters that nobody should wait for
LONG = "x" * TAIL


class Colour(Enum):
    RED = "red"
    DARK_BLUE = "dark blue"


class Point(msgspec.Struct):
    x: int
    y: int = 0


KINDS = {
    "int": int,
    "float": float,
    "bool": bool,
    "literal": Literal["a b", "c", "*d"],
    "numbers": Literal[1, 22],
    "enum": Colour,
    "date": date,
    "time": time,
    "optional int": int | None,
    "bounded int": Annotated[int, msgspec.Meta(ge=3)],
    "short text": Annotated[str, msgspec.Meta(max_length=4)],
    "optional short text": Annotated[str, msgspec.Meta(max_length=4)] | None,
    "list": list[int],
    "set": set[float],
    "many": tuple[date, ...],
    "dict": dict[str, int],
    "struct": Point,
    "structs": list[Point],
    "optional list": list[Point | None] | None,
    "union": int | str,
}


def signature_of(kind):
    return dspex.Signature({"question": (str, dspex.InputField()), "value": (kind, dspex.OutputField())})


def lm_of(provider, **options):
    return dspex.LM("x/y", provider=provider, **{"cache": False, **options})


async def everything(stream):
    return [event async for event in stream]


# What is given up


@pytest.mark.parametrize(
    ("adapter", "reply", "again"),
    [
        (CHAT, f"[[ ## answer ## ]]\nabout four{LONG}", '{"answer": 4}'),
        (JSON, f'{{"answer": "about four{LONG}"}}', '{"answer": 4}'),
        (XML, f"<answer>about four{LONG}</answer>", '{"answer": 4}'),
        (PLAIN, f" about four{LONG}", " 4"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_the_rest_of_a_reply_that_cannot_be_read_is_not_waited_for(streaming, texts, adapter, reply, again):
    provider = streaming(reply, again)
    lm = lm_of(provider)
    with dspex.context(lm=lm, adapter=adapter, stop_early=True), dspex.track_usage() as usage:
        *events, last = await everything(dspex.Predict("question -> answer: int").astream(question="?"))
    assert last.prediction.answer == 4
    assert texts(events) == {("self", "answer"): "4"}
    assert provider.given < TAIL // 2
    assert provider.opened == provider.closed == 2
    assert usage.total.calls == 2
    shown = provider.requests[1].messages
    assert reply.startswith(shown[-2].text)
    assert "field `answer`" in shown[-1].text


async def test_a_field_that_is_over_is_read_at_once(streaming, reply, texts):
    provider = streaming(reply(tags='["a", 1}', answer=LONG), '{"tags": ["a"], "answer": "b"}')
    with dspex.context(lm=lm_of(provider), stop_early=True):
        *events, last = await everything(dspex.Predict("question -> tags: list[str], answer").astream(question="?"))
    assert last.prediction.toDict() == {"tags": ["a"], "answer": "b"}
    assert texts(events) == {("self", "tags"): '["a"]', ("self", "answer"): "b"}
    assert provider.given < TAIL // 2


@pytest.mark.parametrize(
    ("kind", "reply", "again"),
    [
        (list[int], f'[1, "two", {"3, " * TAIL}4]', "[1, 2]"),
        (dict[str, int], f'{{"a": 1, "b": "two", "c": "{LONG}"}}', '{"a": 1}'),
        (Point, f'{{"x": "one", "y": 2, "z": "{LONG}"}}', '{"x": 1}'),
        (list[Point], f'[{{"x": 1}}, {{"x": 2, "y": "two"}}, {LONG}]', '[{"x": 1}]'),
    ],
    ids=["list", "dict", "struct", "list of structs"],
)
@pytest.mark.parametrize("adapter", [CHAT, JSON], ids=["chat", "json"])
async def test_an_element_that_is_wrong_is_enough(streaming, kind, reply, again, adapter):
    whole = f'{{"value": {reply}}}' if adapter is JSON else f"[[ ## value ## ]]\n{reply}"
    provider = streaming(whole, f'{{"value": {again}}}')
    with dspex.context(lm=lm_of(provider), adapter=adapter, stop_early=True):
        *_, last = await everything(dspex.Predict(signature_of(kind)).astream(question="?"))
    assert last.prediction.value == msgspec.json.decode(again, type=kind)
    assert provider.given < TAIL // 2
    assert "two" in provider.requests[1].messages[-2].text or "one" in provider.requests[1].messages[-2].text


async def test_by_default_the_whole_reply_is_waited_for(streaming):
    provider = streaming(f"[[ ## answer ## ]]\nabout four{LONG}", '{"answer": 4}')
    with dspex.context(lm=lm_of(provider)):
        await everything(dspex.Predict("question -> answer: int").astream(question="?"))
    assert provider.given > TAIL


# Limits


async def test_it_is_asked_again_as_often_as_after_any_reply_that_does_not_parse(streaming):
    bad = f"[[ ## answer ## ]]\nabout four{LONG}"
    for most in (0, 1, 2):
        provider = streaming(bad)
        adapter = dspex.ChatAdapter(use_json_adapter_fallback=False)
        with (
            dspex.context(lm=lm_of(provider), stop_early=True, max_reasks=most, adapter=adapter),
            pytest.raises(AdapterParseError, match="not waited for") as caught,
        ):
            await everything(dspex.Predict("question -> answer: int").astream(question="?"))
        assert provider.opened == provider.closed == most + 1
        assert (caught.value.field, caught.value.reason) == ("answer", "value")
        assert caught.value.lm_response in bad
        assert caught.value.usage.calls == most + 1


async def test_a_budget_counts_both_calls(streaming):
    provider = streaming(f"[[ ## answer ## ]]\nabout four{LONG}", '{"answer": 4}')
    with (
        dspex.context(lm=lm_of(provider), stop_early=True),
        dspex.budget(calls=1) as spent,
        pytest.raises(dspex.BudgetExceeded),
    ):
        await everything(dspex.Predict("question -> answer: int").astream(question="?"))
    assert spent.spent.calls == provider.opened == 1
    assert 0 < spent.spent.tokens < TAIL // 2


class Memory(dict):
    """A cache in memory."""

    async def get(self, key):
        return super().get(key)

    async def set(self, key, value, ttl=None):
        self[key] = value

    async def delete(self, key):
        self.pop(key, None)

    async def aclose(self):
        self.clear()


def test_a_reply_that_was_given_up_is_not_cached(virtual, streaming):
    provider = streaming(f"[[ ## answer ## ]]\nabout four{LONG}", '{"answer": 4}')
    kept = Memory()

    async def main():
        program = dspex.Predict("question -> answer: int")
        events = await everything(program.astream(question="?"))
        return events[-1].prediction.answer, len(kept)

    assert virtual(main, lm=lm_of(provider, cache=True), cache=kept, stop_early=True) == (4, 1)


async def test_a_run_that_gave_up_a_reply_is_played_from_its_cassette(streaming, tmp_path):
    provider = streaming(f"[[ ## answer ## ]]\nabout four{LONG}", '{"answer": 4}')
    program = dspex.Predict("question -> answer: int")
    runs = []
    with dspex.context(lm=lm_of(provider), stop_early=True):
        for mode in ("record", "replay"):
            with dspex.cassette(tmp_path / "run.jsonl", mode=mode):
                runs.append(await everything(program.astream(question="?")))
    assert runs[0] == runs[1]
    assert provider.opened == 2


# Two steps


async def test_a_reply_in_free_text_is_heard_as_its_fields_are_taken_out_of_it(streaming, reply, texts):
    bad, good = f"[[ ## answer ## ]]\nabout four{LONG}", '{"answer": 4}'
    second = streaming(bad, good)
    adapter = dspex.TwoStepAdapter(lm_of(second))
    program = dspex.Predict("question -> answer: int")
    with dspex.context(lm=lm_of(streaming("It is four, I think.")), adapter=adapter, stop_early=True):
        *events, last = await everything(program.astream(question="?"))
    assert last.prediction.answer == 4
    assert texts(events) == {("self", "answer"): "4"}
    assert {event.predictor for event in events} == {"self"}
    assert second.given < TAIL // 2


async def test_the_second_step_is_not_heard_where_nobody_wants_the_field(streaming, reply):
    adapter = dspex.TwoStepAdapter(DummyLM([{"answer": "4", "other": "5"}]))
    listener = dspex.streaming.StreamListener("other")

    async def program():
        return await dspex.Predict("question -> answer, other").acall(question="?")

    with dspex.context(lm=lm_of(streaming("Four, or five.")), adapter=adapter):
        events = await everything(dspex.streamify(program, stream_listeners=[listener])())
    assert {(event.signature_field_name, event.run, event.version) for event in events[:-1]} == {("other", 0, 0)}
    assert "".join(event.chunk for event in events[:-1]) == "5"


# What is never given up

words = st.sampled_from(
    [
        *("4", "-", "+", "1,000", ".0", "1e3", "_", "null", "None", "true", "No", "RED", "dark", "blue", "_", "a", "b"),
        *("c", "*d", '"', "'", "`", "**", "```\n", "```json\n", " ", "\n", ".", "2024-01-02", "12:30", "W", "T", "Z"),
        *(
            "[1, 2",
            "]",
            '{"x": 1',
            "}",
            ",",
            "[",
            "{",
            ":",
            '"x"',
            '"y": "2"',
            '"2024-01-02"',
            "1.0",
            "'a'",
            "yes",
            "\u0664",
            "\u00a0",
            "x",
        ),
    ]
)
written = st.one_of(st.lists(words, max_size=6).map("".join), st.text(max_size=8))


def faults(signature, text, size):
    """What is wrong with the text of a signature's output, fed in pieces of that size and then ended."""
    [name] = signature.output_fields
    watch = Watch(signature.compiled)
    pieces = [(name, text[at : at + size]) for at in range(0, len(text), size)]
    return [fault for piece in [(name, ""), *pieces, ("another", "")] if (fault := watch.heard([piece]))]


def readable(signature, text):
    [field] = signature.compiled.outputs
    ways = (
        [field.decode]
        if text.startswith('"')
        else [field.decode, lambda text: field.convert(msgspec.json.decode(text))]
    )
    for read in ways:  # a string in JSON is given as the text in it
        try:
            read(text)
        except ValueError:
            continue
        return True
    return False


SIGNATURES = {name: signature_of(kind) for name, kind in KINDS.items()}


@pytest.mark.slow
@settings(max_examples=200)
@given(written, st.integers(1, 3))
@example("1e3", 1)
@example("```json\n4\n```", 1)
@example('"null"', 1)
@example("None", 1)
@example("yes", 1)
@example("1E3", 1)
@example("RED", 1)
@example("12:30Z", 1)
def test_no_text_that_can_be_read_is_given_up(text, size):
    text = text.strip()  # as parsers give it
    for name, signature in SIGNATURES.items():
        # A wrong list with a right one in a fence behind it is given up, as a wrong reply with a right one behind it is.
        if readable(signature, text) and not ("```" in text and text[0] in "[{"):
            assert not faults(signature, text, size), name


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (int, "about"),
        (int, "4x"),
        (float, "1.5 m"),
        (bool, "maybe"),
        (Literal["a b", "c"], "a c"),
        (Colour, "dark red"),
        (date, "May"),
        (int | None, "nul1"),
        (Annotated[str, msgspec.Meta(max_length=4)], "12345"),
    ],
    ids=str,
)
def test_a_text_is_given_up_by_its_first_character_that_fits_nothing(kind, text):
    signature = signature_of(kind)
    watch = Watch(signature.compiled)
    assert [watch.heard([("value", text[:-1])]), watch.heard([("value", text[-1])])][-1] is not None or kind is int
    assert faults(signature, text, 1)[0][0] == "value"


STRUCTURES = {
    kind: (
        signature_of(kind),
        st.from_type(kind).filter(lambda value: "nan" not in repr(value) and "inf" not in repr(value)),
    )
    for kind in (list[int], dict[str, int], list[Point], Point, set[float])
}


@pytest.mark.slow
@pytest.mark.parametrize(("signature", "values"), STRUCTURES.values(), ids=map(str, STRUCTURES))
@settings(max_examples=100)
@given(st.data(), st.integers(1, 7))
def test_no_value_of_structure_is_given_up_however_it_is_written(signature, values, data, size):
    value = data.draw(values)
    compact = msgspec.json.encode(value).decode()
    for text in (compact, msgspec.json.format(compact), str(msgspec.to_builtins(value)), f"```json\n{compact}\n```"):
        if readable(signature, text):
            assert not faults(signature, text, size)


def test_what_goes_on_for_long_costs_no_time_that_grows_with_it():
    watch = Watch(signature_of(int).compiled)
    for _ in range(20_000):
        watch.heard([("value", "9")])
    assert len(watch._seen) <= 401


def test_an_element_without_end_costs_no_time_that_grows_with_it():
    watch = Watch(signature_of(list[str]).compiled)
    watch.heard([("value", '["')])
    for _ in range(20_000):
        assert watch.heard([("value", "x")]) is None
    assert not watch._elements._pending


def test_a_field_of_plain_text_is_not_kept():
    assert isinstance(signature_of(str).compiled.outputs[0], FieldInfo)
    watch = Watch(signature_of(str).compiled)
    for _ in range(1_000):
        assert watch.heard([("value", "word ")]) is None
    assert not watch._parts
