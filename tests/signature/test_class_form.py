"""A signature as a class: fields, docstring, inheritance, and what is refused."""

from typing import Annotated, ClassVar, Generic, Literal, TypeVar

import msgspec
import pytest

from dspex.core.errors import InputError, SignatureError, SignatureTypeError
from dspex.program.fields import InputField, OutputField, infer_prefix
from dspex.program.signature import Signature

T = TypeVar("T")


class QA(Signature):
    """Answer the question.

    Be brief.
    """

    limit: ClassVar[int] = 3
    answer: Literal["yes", "no"] = OutputField(desc="the answer")
    question: str = InputField()
    context: list[str] = InputField(default_factory=list)
    score: float = OutputField(ge=0, le=1, prefix="How sure:")


def test_fields_come_from_the_attributes_inputs_first():
    assert list(QA.fields) == ["question", "context", "answer", "score"]
    assert list(QA.input_fields) == ["question", "context"]
    assert list(QA.output_fields) == ["answer", "score"]
    assert QA.fields["answer"].annotation == Literal["yes", "no"]
    assert (QA.signature, QA.limit) == ("question, context -> answer, score", 3)


def test_the_docstring_gives_the_instructions_and_there_are_default_ones():
    assert QA.instructions == "Answer the question.\n\nBe brief."
    assert Signature("a, b -> c").instructions == "Given the fields `a`, `b`, produce the fields `c`."


def test_a_field_tells_what_dspy_asks_of_it():
    extra = QA.fields["score"].json_schema_extra
    assert extra == {
        "desc": "${score}",
        "prefix": "How sure:",
        "__dspy_field_type": "output",
        "constraints": ">= 0, <= 1",
    }
    assert QA.fields["answer"].json_schema_extra["desc"] == "the answer"
    assert QA.fields["question"].is_required()
    assert not QA.fields["context"].is_required()


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("camelCaseText", "Camel Case Text"),
        ("input1", "Input 1"),
        ("snake_case_2b", "Snake Case 2 B"),
        ("someHTMLText", "Some HTML Text"),
        ("URL", "URL"),
    ],
)
def test_a_name_becomes_words(name, prefix):
    assert infer_prefix(name) == prefix


def test_a_subclass_adds_and_replaces():
    class More(QA):
        hint: str = InputField()
        score: int = OutputField()

    class Told(More):
        """Other words."""

    assert More.signature == "question, context, hint -> answer, score"
    assert (More.fields["score"].annotation, More.instructions) == (int, QA.instructions)
    assert Told.instructions == "Other words."
    assert Told.signature == More.signature


def test_default_instructions_name_a_subclass_s_own_fields():
    class Base(Signature):
        a: str = InputField()

    class Sub(Base):
        b: str = OutputField()

    assert Sub.instructions == "Given the fields `a`, produce the fields `b`."


def test_no_annotation_means_str_and_annotated_may_hold_the_field():
    class Form(Signature):
        a = InputField()
        b: Annotated[int, OutputField(desc="how many")]

    assert Form.fields["a"].annotation is str
    assert (Form.signature, Form.fields["b"].desc) == ("a -> b", "how many")


def test_an_attribute_that_is_no_field_is_refused():
    with pytest.raises(SignatureTypeError, match=r"Bad\.b is neither input nor output"):

        class Bad(Signature):
            a: str = InputField()
            b: int

    with pytest.raises(TypeError, match=r"Bad2\.b is neither"):

        class Bad2(Signature):
            b: int = 3


@pytest.mark.parametrize("name", ["demos", "lm", "fields", "_hidden"])
def test_a_reserved_name_is_refused(name):
    with pytest.raises(SignatureError, match="reserved"):
        type(Signature)("Bad", (Signature,), {name: InputField(), "b": OutputField()})


def test_an_output_that_no_reply_can_give_is_refused_when_it_is_defined():
    with pytest.raises(SignatureTypeError, match="Field 'b' of type Thing: Thing cannot be read from text"):

        class Bad(Signature):
            a: "Thing" = InputField()
            b: "Thing" = OutputField()


class Thing:
    """No type of ours."""


def test_an_input_may_be_anything():
    class Fine(Signature):
        thing: Thing = InputField()
        answer: str = OutputField()

    assert Fine.compiled.check_inputs({"thing": Thing()})


def test_an_option_that_no_field_has_is_named():
    with pytest.raises(TypeError, match=r"'max_lenght'.*'max_length'"):
        InputField(max_lenght=3)


def test_dspys_dead_options_are_taken():
    assert InputField(format=str, parser=int, description="d").desc == "d"


def test_a_constraint_that_does_not_fit_the_type_is_refused():
    with pytest.raises(SignatureTypeError, match="Can only set `ge` on a numeric type"):

        class Bad(Signature):
            b: str = OutputField(ge=1)


def test_a_class_of_fields_makes_records():
    record = QA(question="q", answer="yes", score=0.5)
    assert (record.question, record.context, record.score) == ("q", [], 0.5)
    assert record == QA(question="q", answer="yes", score=0.5, context=[])
    with pytest.raises(InputError, match=r"'score' is missing; 'scor' is unknown. Did you mean 'score'\?"):
        QA(question="q", answer="yes", scor=1)


def test_an_annotation_that_cannot_be_resolved_is_named():
    with pytest.raises(SignatureTypeError, match=r"Bad cannot be resolved.*Nowhere"):

        class Bad(Signature):
            a: "Nowhere" = InputField()  # noqa: F821


def test_numbers_are_finite():
    assert OutputField(allow_inf_nan=False)
    with pytest.raises(TypeError, match="always finite"):
        OutputField(allow_inf_nan=True)


def test_a_class_may_tell_checkers_not_to_look():
    class Open(Signature, init=False):
        a: Annotated[str, InputField()]
        b: Annotated[int, OutputField()]

    assert Open.signature == "a -> b"
    assert Open(a="x", b=1).b == 1


def test_a_class_may_hold_more_than_fields():
    class Named(QA):
        limit: ClassVar[int] = 5
        hints: "ClassVar[tuple[str, ...]]" = ("a",)

        @property
        def short(self) -> str:
            return self.answer[:1]

        @classmethod
        def briefly(cls):
            return cls.append_instructions("Briefly!")

    assert list(Named.fields) == list(QA.fields)
    assert (Named.limit, Named.hints, Named(question="q", answer="yes", score=1).short) == (5, ("a",), "y")
    assert Named.briefly().instructions.endswith("Briefly!")


def test_types_may_be_local_or_come_later():
    class Local(msgspec.Struct):
        x: int

    class Holder(msgspec.Struct, Generic[T]):
        held: T

    class Uses(Signature):
        a: "list[Local]" = InputField()
        b: "Holder[Local]" = OutputField()
        c: Holder[int] | None = OutputField()

    assert Uses.fields["a"].annotation == list[Local]
    assert Uses.fields["b"].decode('{"held": {"x": 1}}').held == Local(1)
    assert Uses.fields["c"].decode('{"held": 1}').held == 1
