"""Types, tools and documents as programs for DSPy write and use them."""

import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest

import dspex
from dspex.testing import DummyLM, ScriptedProvider

pydantic = pytest.importorskip("pydantic")


class Event(dspex.Type):
    """Its fields are described by pydantic's `Field`."""

    name: str = pydantic.Field(description="what happens")
    seats: int = pydantic.Field(default=3, description="how many may come")
    guests: list[str] = pydantic.Field(default_factory=list)


def test_pydantics_field_gives_a_types_fields_their_defaults():
    event = Event(name="tea")
    assert (event.seats, event.guests, Event(name="x").guests is event.guests) == (3, [], False)
    with pytest.raises(ValueError, match="name"):
        Event()


def test_pydantics_description_of_a_field_is_told_to_the_model():
    dspex.configure(lm=DummyLM([{"event": {"name": "tea", "seats": 2}}]))
    assert dspex.Predict("mail -> event: Event")(mail="?").event == Event(name="tea", seats=2)
    assert "how many may come" in dspex.settings.lm.history[-1]["messages"][0]["content"]


@pytest.mark.parametrize("made", [pydantic.field_validator("name"), pydantic.model_validator(mode="before")])
def test_a_validator_that_nobody_would_call_is_refused(made):
    with pytest.raises(dspex.ConfigurationError, match=r"Guest\.checked is a validator"):
        type("Guest", (dspex.Type,), {"__annotations__": {"name": str}, "checked": made(classmethod(lambda cls, v: v))})


def test_a_tool_says_in_words_what_it_is():
    def add(x: int, y: int = 0) -> int:
        """Add two integers."""
        return x + y

    assert str(dspex.Tool(add)) == (
        'add, Add two integers. Arguments, as JSON schemas: {"x":{"type":"integer"},"y":{"type":"integer","default":0}}'
    )


def test_a_citation_is_made_by_its_name_within_citations():
    one = dspex.Citations.Citation(cited_text="It rains.", document_index=1, start_char_index=0, end_char_index=9)
    assert dspex.Citations([one])[0] is one or dspex.Citations([one])[0] == one


def test_a_document_may_be_a_pdf():
    lm = DummyLM([{"answer": "yes"}])
    dspex.configure(lm=lm)
    paper = dspex.Document(data="JVBERg==", media_type="application/pdf", title="paper.pdf")
    assert dspex.Predict("paper: dspex.Document, question -> answer")(paper=paper, question="?").answer == "yes"
    parts = lm.history[-1]["messages"][-1]["content"]
    assert {
        "type": "file",
        "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "paper.pdf"},
    } in parts
    with pytest.raises(ValueError, match="media_type"):
        dspex.Document(data="x", media_type="text/html")


@pytest.mark.parametrize("model", ["openai/gpt-4o", None, ScriptedProvider([])])
def test_a_second_model_that_is_none_is_refused_before_any_call(model):
    with pytest.raises(dspex.ConfigurationError, match=r"TwoStepAdapter takes a dspex\.LM"):
        dspex.TwoStepAdapter(model)


def test_an_error_of_a_reply_has_the_signature_that_was_asked():
    signature = dspex.Signature("question -> answer: int")
    dspex.configure(lm=DummyLM([{"answer": "none"}] * 2), max_reasks=1)
    with pytest.raises(dspex.AdapterParseError) as caught:
        dspex.Predict(signature)(question="?")
    assert caught.value.signature is signature


@pytest.mark.parametrize("said", ["Literal[on time]", "Literal['on time']", " str[On Time] "])
def test_a_choice_may_be_said_as_its_type(said):
    dspex.configure(lm=DummyLM([{"verdict": said}]), max_reasks=0)
    assert dspex.Predict("text -> verdict: Literal['on time', 'late']")(text="?").verdict == "on time"


def test_a_choice_that_looks_like_a_type_stays_itself():
    dspex.configure(lm=DummyLM([{"kind": "str[a]"}]))
    assert dspex.Predict("text -> kind: Literal['str[a]', 'a']")(text="?").kind == "str[a]"


def test_a_download_looks_at_the_certificate():
    assert dspex.Image.from_url("https://host/a.png", verify=False).url == "https://host/a.png"
    with pytest.raises(dspex.InputError, match="certificate"):
        dspex.Image.from_url("https://host/a.png", download=True, verify=False)


class Person(pydantic.BaseModel):
    """A model among an object's values."""

    name: str


@pytest.mark.parametrize(
    ("kind", "said", "wanted"),
    [
        ("Person", '{"name": "Ada"}', Person(name="Ada")),
        ("list[Person]", '[{"name": "Ada"}]', [Person(name="Ada")]),
        ("Person | None", '{"name": "Ada"}', Person(name="Ada")),
        ("Person | None", "None", None),
        ("int | None", "null", None),
        ("Literal['None', 'some'] | None", "None", "None"),
        ("str | None", "None", "None"),
    ],
)
def test_a_text_within_a_json_reply_may_hold_the_value(kind, said, wanted):
    found = dspex.JSONAdapter().parse(dspex.Signature(f"q -> out: {kind}"), json.dumps({"out": said}))
    assert found == {"out": wanted}


@pytest.mark.parametrize(("kind", "said"), [("Person", "Ada"), ("Person", '{"nam": 1}'), ("int | None", "none of it")])
def test_a_text_that_holds_no_value_is_refused_as_the_text_it_is(kind, said):
    with pytest.raises(dspex.AdapterParseError, match="out"):
        dspex.JSONAdapter().parse(dspex.Signature(f"q -> out: {kind}"), json.dumps({"out": said}))


@pytest.mark.parametrize(
    ("kind", "wanted"), [("list[str]", []), ("dict[str, int]", {}), ("set[int]", set()), ("list[Person] | None", None)]
)
@pytest.mark.parametrize("said", ["<out></out>", "<out>\n</out>", "<out/>"])
def test_an_empty_tag_is_an_empty_collection(kind, wanted, said):
    assert dspex.XMLAdapter().parse(dspex.Signature(f"q -> out: {kind}"), said) == {"out": wanted}


@pytest.mark.parametrize("kind", ["Person", "int", "tuple[int, str]"])
def test_an_empty_tag_is_no_value_of_another_type(kind):
    with pytest.raises(dspex.AdapterParseError, match="out"):
        dspex.XMLAdapter().parse(dspex.Signature(f"q -> out: {kind}"), "<out></out>")


class Team(pydantic.BaseModel):
    """Holds lists."""

    name: str = ""
    tags: list[str] = pydantic.Field(default_factory=list)
    years: list[int] = pydantic.Field(default_factory=list)


@pytest.mark.parametrize(
    ("kind", "said", "wanted"),
    [
        ("list[str]", "<out>a</out><out>b, c</out>", ["a", "b, c"]),
        ("list[int]", "<out>1</out>\n<out>2</out>", [1, 2]),
        (
            "list[Person]",
            "<out><name>Ada</name></out><out><name>Bo</name></out>",
            [Person(name="Ada"), Person(name="Bo")],
        ),
        (
            "list[Person]",
            '<out>{"name": "Ada"}</out><out>{"name": "Bo"}</out>',
            [Person(name="Ada"), Person(name="Bo")],
        ),
        ("list[Person]", "<out><name>Ada</name></out>", [Person(name="Ada")]),
        ("Team", "<out><tags>a</tags><years>3</years></out>", Team(tags=["a"], years=[3])),
        ("Team", "<out><tags>a</tags><tags>b</tags></out>", Team(tags=["a", "b"])),
        # The last whole list, where a model begins anew.
        ("list[str]", '<out>["a"]</out><out>["b"]</out>', ["b"]),
        ("list[str]", "<out><i>a</i></out><out><i>b</i></out>", ["b"]),
        ("str", "<out>a</out><out>b</out>", "b"),
    ],
)
def test_a_list_may_have_a_tag_for_each_item(kind, said, wanted):
    assert dspex.XMLAdapter().parse(dspex.Signature(f"q -> out: {kind}"), said) == {"out": wanted}


@pytest.mark.parametrize("said", ["<tags>a, b</tags>", "<tags>none</tags>", "<tags>- a\n- b</tags>", "<tags>[a</tags>"])
def test_a_text_that_may_be_several_items_is_no_list_of_one(said):
    with pytest.raises(dspex.AdapterParseError, match="tags"):
        dspex.XMLAdapter().parse(dspex.Signature("q -> out: Team"), f"<out>{said}</out>")


@pytest.mark.parametrize(
    "said",
    ['[{"out": 3}]', '<think>Is it {"out": 4}?</think>{"out": 3}', '\n<think>{2, 3}</think>\n```json\n{"out": 3}\n```'],
)
def test_an_object_alone_in_a_list_or_after_thoughts_is_read(said):
    assert dspex.JSONAdapter().parse(dspex.Signature("q -> out: int"), said) == {"out": 3}


@pytest.mark.parametrize(
    "said", ['[{"out": 3}, {"out": 4}]', '<think>{"out": 3}', '{"out": 3} <think></think> {"out": 4}']
)
def test_two_objects_or_thoughts_without_an_end_are_not(said):
    with pytest.raises(dspex.AdapterParseError):
        dspex.JSONAdapter().parse(dspex.Signature("q -> out: int, more: str"), said)


TEXTUAL = [
    ("Path", "/a/b.txt", Path("/a/b.txt")),
    ("IPv4Address", "10.0.0.1", IPv4Address("10.0.0.1")),
    ("HttpUrl", "https://example.com/a", pydantic.HttpUrl("https://example.com/a")),
    ("list[HttpUrl]", '["https://example.com/a"]', [pydantic.HttpUrl("https://example.com/a")]),
    ("Path | None", "None", None),
    ("dict[str, Path]", '{"x": "/a"}', {"x": Path("/a")}),
]
NAMES = {"Path": Path, "IPv4Address": IPv4Address, "HttpUrl": pydantic.HttpUrl}


@pytest.mark.parametrize(("kind", "said", "wanted"), TEXTUAL, ids=[kind for kind, _, _ in TEXTUAL])
def test_classes_that_a_text_says_may_be_outputs(kind, said, wanted):
    signature = dspex.Signature(f"q -> out: {kind}", custom_types=NAMES)
    assert dspex.ChatAdapter().parse(signature, f"[[ ## out ## ]]\n{said}") == {"out": wanted}
    text = said if said[:1] in "[{" else "null" if wanted is None else json.dumps(said)
    assert dspex.JSONAdapter().parse(signature, f'{{"out": {text}}}') == {"out": wanted}
    shown = dspex.ChatAdapter().format(signature, [{"q": "a", "out": wanted}], {"q": "b"})[2]["content"]
    assert dspex.ChatAdapter().parse(signature, shown) == {"out": wanted}


@pytest.mark.parametrize(("kind", "said"), [("HttpUrl", "no url"), ("IPv4Address", "10.0.0"), ("Path", "")])
def test_a_text_that_does_not_say_one_is_refused(kind, said):
    with pytest.raises(dspex.AdapterParseError, match="out"):
        dspex.ChatAdapter().parse(dspex.Signature(f"q -> out: {kind}", custom_types=NAMES), f"[[ ## out ## ]]\n{said}")
