"""Habits of programs written for DSPy that go on working."""

import pickle
import threading
from pathlib import Path

import pytest

import dspex
from dspex.testing import DummyLM

pydantic = pytest.importorskip("pydantic")


class Shelf(dspex.Module):
    """Holds parts in all kinds of places, and a lock, which has no copy."""

    def __init__(self):
        self.lock = threading.Lock()
        self.byname = {"first": dspex.Predict("question -> answer")}
        self.listed = [dspex.Predict("question -> answer"), (dspex.Module(),)]


def test_a_copy_shares_what_a_part_cannot_copy():
    outer = dspex.Module()
    outer.shelf = Shelf()
    twin = outer.deepcopy()
    assert twin.shelf.lock is outer.shelf.lock
    assert twin.shelf.byname["first"] is not outer.shelf.byname["first"]


def test_sub_modules_are_named_by_their_place():
    names = [name for name, _ in Shelf().named_sub_modules()]
    assert names == ["self", "self.byname[first]", "self.listed[0]", "self.listed[1][0]"]


@pytest.mark.parametrize("name", ["self", "cls", "args", "kwargs", "model", "n", "key"])
def test_a_field_may_have_any_name_that_is_not_reserved(name):
    dspex.configure(lm=DummyLM([{"answer": "yes"}]))
    predict = dspex.Predict({name: dspex.InputField(), "answer": dspex.OutputField()})
    assert predict(**{name: "?"}).answer == "yes"


class Site(pydantic.BaseModel):
    url: pydantic.HttpUrl
    file: Path


def test_demos_with_pydantics_own_types_are_saved(tmp_path):
    program = dspex.Predict("site: Site, file -> answer")
    program.demos = [{"site": Site(url="https://example.com", file="a/b"), "file": Path("c"), "answer": "yes"}]
    program.save(tmp_path / "p.json")
    loaded = dspex.Predict("site: Site, file -> answer").load(tmp_path / "p.json")
    assert loaded.demos == [{"site": {"url": "https://example.com/", "file": "a/b"}, "file": "c", "answer": "yes"}]


class Basket(dspex.Signature):
    """Fill it."""

    shop: str = dspex.InputField()
    fruit: list[str] = dspex.OutputField(default=[])


def test_a_default_is_no_shared_list():
    dspex.configure(lm=DummyLM([{"x": ""}] * 2, adapter=dspex.JSONAdapter()), adapter=dspex.JSONAdapter())
    dspex.Predict(Basket)(shop="A").fruit.append("pear")
    assert dspex.Predict(Basket)(shop="B").fruit == []


def test_what_a_signature_is_made_of_can_be_pickled():
    compiled = dspex.Signature(
        "question: str | None -> scores: list[float], pick: Literal['a', 'b']", "Think."
    ).compiled
    twin = pickle.loads(pickle.dumps(compiled))
    assert (twin.key, twin.instructions) == (compiled.key, "Think.")
    assert twin.fields["scores"].decode("[1.5]") == [1.5]
    bound = dspex.OutputField(desc="d", ge=1).bound("n", int)
    assert pickle.loads(pickle.dumps(bound)).ready().constraints == ">= 1"


class Listing(dspex.ChatAdapter):
    """Reads a signature as DSPy's adapters do."""

    def format_field_description(self, signature):
        fields = {**signature.input_fields, **signature.output_fields}
        return "; ".join(f"{name} {field.json_schema_extra['prefix']}" for name, field in fields.items())

    def format_user_message_content(self, signature, inputs, prefix="", suffix="", main_request=False):
        return prefix + ", ".join(f"{name}={inputs[name]}" for name in signature.input_fields) + suffix


def test_an_adapter_may_read_a_signature_as_in_dspy():
    lm = DummyLM([{"answer": "yes"}])
    dspex.configure(lm=lm, adapter=Listing())
    assert dspex.Predict("question -> answer")(question="why?").answer == "yes"
    system, user = lm.history[-1]["messages"]
    assert system["content"].startswith("question Question:; answer Answer:")
    assert user["content"] == "question=why?"


@pytest.mark.parametrize("lm", ["openai/gpt-4o-mini", lambda prompt: ["text"]])
def test_what_is_no_lm_is_named(lm):
    with dspex.context(lm=lm), pytest.raises(ValueError, match=r"An LM is a dspex.LM"):
        dspex.Predict("question -> answer")(question="?")
