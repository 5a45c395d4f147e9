"""Results have their fields' types, in every way of asking for one."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, reveal_type

import msgspec

import dspex


class Colour(Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: int


class QA(dspex.Signature):
    """Answer."""

    question: str = dspex.InputField(desc="what is asked", min_length=3)
    context: list[str] = dspex.InputField(default_factory=list)
    hint: str | None = dspex.InputField(default=None)
    answer: str = dspex.OutputField()
    label: Literal["yes", "no"] = dspex.OutputField()
    colour: Colour = dspex.OutputField(desc="of it")
    points: list[Point] | None = dspex.OutputField()
    score: float = dspex.OutputField(ge=0, le=1)


predict = dspex.Predict(QA, temperature=0.7)
result = predict(question="Why?")
reveal_type(result)  # expect: QA
reveal_type(result.answer)  # expect: str
reveal_type(result.label)  # expect: Literal['yes', 'no']
reveal_type(result.colour)  # expect: Colour
reveal_type(result.points)  # expect: list[Point] | None
reveal_type(result.score)  # expect: float
reveal_type(result.question)  # expect: str
typo = result.anwser  # error

# A result is a Prediction, too
prediction: dspex.Prediction = result
reveal_type(result["answer"])  # expect: Any
reveal_type(result.completions)  # expect: Completions | None
reveal_type(result.get_lm_usage())  # expect: dict[str, Any] | None
usage: Mapping[str, Any] = result.toDict()
number: float = result + 1


async def asked() -> None:
    reveal_type(await predict.acall(question="Why?"))  # expect: QA
    reveal_type((await dspex.Predict(QA).acall(question="Why?")).score)  # expect: float
    reveal_type(await dspex.ChainOfThought(QA).acall(question="Why?"))  # expect: QA


# Reasoning

thought = dspex.ChainOfThought(QA)(question="Why?")
reveal_type(thought.reasoning)  # expect: str
reveal_type(thought.answer)  # expect: str
typo = thought.anwser  # error
length: int = thought.reasoning  # error

# The words of a call leave the result as it is, or change it

reveal_type(predict(question="Why?", config={"temperature": 1.0}))  # expect: QA
reveal_type(predict(question="Why?", demos=[], lm=dspex.LM("a/b")))  # expect: QA
reveal_type(predict(question="Why?", signature="question -> x"))  # expect: Any

# Inputs at run time are unchecked, and the result is none the worse

unpacked: QA = predict(**dspex.Example(question="Why?").inputs())


def forwarded(**inputs: Any) -> str:
    given: QA = predict(**inputs)
    return given.answer


# Inheritance


class Told(QA):
    """Answer again."""

    times: int = dspex.InputField()
    sure: bool = dspex.OutputField()
    score: float = dspex.OutputField(ge=0.5)


told = dspex.Predict(Told)(question="Why?", times=3)
reveal_type(told.sure)  # expect: bool
reveal_type(told.answer)  # expect: str
reveal_type(predict(question="Why?", signature=Told))  # expect: Told

# Texts: anything goes in and comes out

reveal_type(dspex.Predict("question -> answer")(question=3))  # expect: Prediction
reveal_type(dspex.Predict("question -> answer")(question=3).answer)  # expect: Any
reveal_type(dspex.ChainOfThought("question -> answer")(question=3).reasoning)  # expect: Any
reveal_type(dspex.Signature("question -> answer", "Be brief."))  # expect: type[TextSignature]
made = dspex.make_signature({"a": dspex.InputField(), "b": (int, dspex.OutputField())})
reveal_type(made)  # expect: type[TextSignature]
reveal_type(dspex.Predict(dspex.Signature("question -> answer"))(question=3).answer)  # expect: Any


def answers(results: Sequence[QA]) -> list[str]:
    return [one.answer for one in results]


reveal_type(answers([result, told]))  # expect: list[str]
