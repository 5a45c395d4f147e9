"""Inputs that a signature has not, or of other types, are errors."""

import dspex


class QA(dspex.Signature):
    """Answer."""

    question: str = dspex.InputField()
    context: list[str] = dspex.InputField(default_factory=list)
    hint: str | None = dspex.InputField(default=None)
    answer: str = dspex.OutputField()


predict = dspex.Predict(QA)
predict(question="Why?")
predict(question="Why?", context=["a"], hint="b")
predict(question="Why?", hint=None)
predict()  # error
predict("Why?")  # error
predict(question=3)  # error
predict(questoin="Why?")  # error
predict(question="Why?", questoin="Why?")  # error
predict(question="Why?", context="a")  # error
predict(question="Why?", answer="So.")  # error
dspex.ChainOfThought(QA)(questoin="Why?")  # error
dspex.ChainOfThought(QA)(question="Why?", reasoning="So.")  # error


async def asked() -> None:
    await predict.acall(question="Why?", context=[])
    await predict.acall(question=3)  # error
    await predict.acall(questoin="Why?")  # error


dspex.Predict(3)  # error
dspex.Predict(QA, callbacks=3)  # error


class Options(dspex.Signature):
    wrong: str = dspex.InputField(max_lenght=3)  # error
    bound: int = dspex.OutputField(ge="3")  # error
