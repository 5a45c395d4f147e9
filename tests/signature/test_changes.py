"""Every change gives a new signature; state goes out and comes back."""

from typing import Annotated

import pytest

from dspex.core.errors import ProgramFileError, SignatureError
from dspex.program.fields import InputField, OutputField
from dspex.program.signature import Signature, ensure_signature, make_signature

BASE = Signature("a, b -> c, d", "Do it.")


class Named(Signature):
    """Named."""

    question: str = InputField(desc="what is asked")
    answer: int = OutputField(ge=3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.append("x", InputField()), "a, b, x -> c, d"),
        (lambda s: s.append("x", OutputField(), int), "a, b -> c, d, x"),
        (lambda s: s.prepend("x", InputField()), "x, a, b -> c, d"),
        (lambda s: s.prepend("x", OutputField()), "a, b -> x, c, d"),
        (lambda s: s.insert(1, "x", InputField()), "a, x, b -> c, d"),
        (lambda s: s.insert(-2, "x", OutputField()), "a, b -> c, x, d"),
        (lambda s: s.delete("b"), "a -> c, d"),
        (lambda s: s.delete("nope"), "a, b -> c, d"),
    ],
)
def test_a_change_gives_a_new_signature_and_leaves_the_old(change, text):
    changed = change(BASE)
    assert (changed.signature, changed.instructions) == (text, "Do it.")
    assert BASE.signature == "a, b -> c, d"
    assert issubclass(changed, Signature)


def test_default_instructions_follow_the_fields_and_given_ones_stay():
    grown = Signature("a -> b").append("x", InputField())
    assert grown.instructions == "Given the fields `a`, `x`, produce the fields `b`."
    assert grown.with_instructions("Own.").append("y", InputField()).instructions == "Own."


def test_instructions_are_replaced_appended_or_set():
    assert BASE.with_instructions("Else.").instructions == "Else."
    assert BASE.append_instructions("And.").append_instructions("So.").instructions == "Do it.\n\nAnd.\n\nSo."
    own = Signature("a -> b")
    own.instructions = "Set."
    assert (own.instructions, Signature("a -> b").instructions) == (
        "Set.",
        "Given the fields `a`, produce the fields `b`.",
    )


def test_a_field_changes_its_options_and_keeps_the_others():
    changed = Named.with_updated_fields("answer", desc="how many", le=9).fields["answer"]
    assert (changed.desc, changed.constraints, changed.annotation) == ("how many", ">= 3, <= 9", int)
    retyped = Named.with_updated_fields("question", type_=list[str]).fields["question"]
    assert (retyped.annotation, retyped.desc) == (list[str], "what is asked")
    with pytest.raises(KeyError):
        Named.with_updated_fields("nope", desc="x")


def test_a_type_that_is_changed_back_is_as_it_was():
    back = BASE.with_updated_fields("c", type_=int).with_updated_fields("c", type_=str)
    assert back.compiled is BASE.compiled


def test_a_name_is_kept():
    assert Named.with_instructions("x").__name__ == "Named"
    assert make_signature("a -> b", signature_name="Mine").append("c", InputField()).__name__ == "Mine"


@pytest.mark.parametrize("index", [4, -5])
def test_a_place_outside_is_refused(index):
    with pytest.raises(SignatureError, match="no place"):
        BASE.insert(index, "x", InputField())


def test_a_second_field_of_one_name_is_refused():
    with pytest.raises(SignatureError, match="with_updated_fields"):
        BASE.append("c", InputField())


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("a, b -> c, d", True),
        ("a, b: int -> c, d", False),
        ("b, a -> c, d", False),
        ("a, b -> c", False),
        ("a, b -> c, d: str", True),
    ],
)
def test_equal_means_names_types_and_instructions(other, same):
    assert BASE.equals(Signature(other, "Do it.")) is same
    assert not BASE.equals(Signature(other))


def test_options_count_for_equality():
    assert not BASE.equals(BASE.with_updated_fields("a", desc="x"))


def test_state_has_dspys_keys_with_names_and_types_and_comes_back():
    state = Named.with_instructions("Better.").with_updated_fields("answer", prefix="A:", desc="d").dump_state()
    assert state == {
        "instructions": "Better.",
        "fields": [
            {"prefix": "Question:", "description": "what is asked", "name": "question", "role": "input", "type": "str"},
            {"prefix": "A:", "description": "d", "name": "answer", "role": "output", "type": "int"},
        ],
    }
    loaded = Named.load_state(state)
    assert loaded.dump_state() == state
    assert (loaded.fields["answer"].constraints, loaded.__name__) == (">= 3", "Named")


def test_a_state_of_dspys_loads():
    rows = [{"prefix": "Question:", "description": "${question}"}, {"prefix": "Answer:", "description": "short"}]
    loaded = Signature("question -> answer").load_state({"instructions": "I.", "fields": rows})
    assert (loaded.instructions, loaded.fields["answer"].desc, loaded.fields["question"].desc) == ("I.", "short", "")


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"instructions": "x", "fields": [3, 4]},
        {"instructions": "x", "fields": [{"prefix": "A:", "description": ""}]},
        Signature("question, b -> answer").dump_state(),
        Signature("question -> other").dump_state(),
        Signature("q -> a").dump_state() | {"fields": None},
    ],
)
def test_a_state_that_does_not_fit_is_refused(state):
    with pytest.raises(ProgramFileError):
        Signature("question -> answer").load_state(state)


def test_ensure_takes_texts_dicts_classes_and_nothing():
    assert ensure_signature("a -> b").signature == "a -> b"
    assert ensure_signature({"a": InputField(), "b": (int, OutputField())}).fields["b"].annotation is int
    assert ensure_signature(Named) is Named
    assert ensure_signature(Named, "Else.").instructions == "Else."
    assert ensure_signature(None) is None


@pytest.mark.parametrize("given", [3, {"a": InputField()}, {"a": "str"}])
def test_what_makes_no_signature_is_refused(given):
    with pytest.raises(SignatureError):
        ensure_signature(given)


def test_a_class_without_outputs_is_a_base_but_no_signature_of_a_call():
    class Base(Signature):
        a: str = InputField()

    with pytest.raises(SignatureError, match="Base has no output"):
        ensure_signature(Base)


def test_a_field_of_another_signature_may_be_taken_under_another_name():
    class Noted(Signature):
        question: Annotated[int, "how many"] = InputField(ge=3)
        answer: str = OutputField()

    field = BASE.append("x", Noted.fields["question"]).fields["x"]
    assert (field.prefix, field.desc, field.constraints, field.type_text) == ("X:", "how many", ">= 3", "int")
