"""Signatures as classes: what they tell, and what a change of one makes of its types."""

from typing import Annotated, reveal_type

import dspex


class QA(dspex.Signature):
    """Answer."""

    question: str = dspex.InputField()
    answer: str = dspex.OutputField()


reveal_type(QA.instructions)  # expect: str
reveal_type(QA.signature)  # expect: str
reveal_type(QA.fields["answer"].name)  # expect: str
reveal_type(QA.answer)  # expect: str
reveal_type(QA.equals(QA))  # expect: bool
QA.instructions = "Answer briefly."

# Other words leave the types

told = QA.with_instructions("Answer.").append_instructions("Be brief.")
reveal_type(dspex.Predict(told)(question="Why?").answer)  # expect: str
dspex.Predict(told)(questoin="Why?")  # error
described = QA.with_updated_fields("answer", desc="one word")
reveal_type(dspex.Predict(described)(question="Why?").answer)  # expect: str
reveal_type(dspex.Predict(QA.load_state(QA.dump_state()))(question="Why?").answer)  # expect: str
reveal_type(dspex.Predict(dspex.ensure_signature(QA))(question="Why?").answer)  # expect: str

# Other fields are unknown to a checker

grown = QA.append("hint", dspex.InputField(), list[str]).delete("answer").prepend("label", dspex.OutputField())
reveal_type(dspex.Predict(grown)(question="Why?", hint=["a"]).label)  # expect: Any
retyped = QA.with_updated_fields("answer", int)
reveal_type(dspex.Predict(retyped)(question="Why?").answer)  # expect: Any


# Held in a variable, a class still gives its results


def ask(signature: type[QA]) -> str:
    return dspex.Predict(signature)(question="Why?").answer


def ask_any(signature: type[dspex.Signature]) -> dspex.Prediction:
    return dspex.Predict(signature)(question="Why?")


ask(QA)
ask_any(QA)
ask_any(dspex.Signature("a -> b"))
ask(dspex.Signature)  # error

# Declared inside Annotated, where no checker sees which are the inputs


class Noted(dspex.Signature, init=False):
    question: Annotated[str, dspex.InputField()]
    answer: Annotated[int, dspex.OutputField(desc="how many")]


reveal_type(dspex.Predict(Noted)(question="Why?").answer)  # expect: int
typo = dspex.Predict(Noted)(question="Why?").anwser  # error


# Notes beside a field are no hindrance


class Bounded(dspex.Signature):
    count: Annotated[int, "how many"] = dspex.InputField()
    answer: Annotated[str, "short"] = dspex.OutputField()


reveal_type(dspex.Predict(Bounded)(count=3).answer)  # expect: str
dspex.Predict(Bounded)(count="3")  # error
