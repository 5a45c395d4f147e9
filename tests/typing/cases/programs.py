"""Programs made of predictors, and what is done with them."""

from typing import Any, reveal_type

import dspex


class Draft(dspex.Signature):
    topic: str = dspex.InputField()
    draft: str = dspex.OutputField()


class Grade(dspex.Signature):
    text: str = dspex.InputField()
    grade: int = dspex.OutputField(ge=1, le=5)


class Writer(dspex.Module):
    def __init__(self) -> None:
        super().__init__()
        self.write = dspex.ChainOfThought(Draft)
        self.grade = dspex.Predict(Grade, temperature=0.0)
        self.steps: list[dspex.Predict] = [self.grade]
        self.plain: dspex.Predict = dspex.Predict("text -> title")

    def forward(self, topic: str) -> dspex.Prediction:
        draft = self.write(topic=topic)
        reveal_type(draft.draft)  # expect: str
        graded = self.grade(text=draft.reasoning)
        reveal_type(graded.grade)  # expect: int
        self.grade(texts=draft.draft)  # error
        return dspex.Prediction(draft=draft.draft, score=graded.grade, title=self.plain(text="a").title)


class Grader(dspex.Module):
    def __init__(self) -> None:
        self.grade = dspex.Predict(Grade)

    async def aforward(self, text: str) -> Grade:
        return await self.grade.acall(text=text)

    def wrong(self, text: str) -> Draft:
        return self.grade(text=text)  # error


writer = Writer()
reveal_type(writer(topic="a"))  # expect: Any
reveal_type(writer.deepcopy())  # expect: Writer
reveal_type(writer.reset_copy().write.deepcopy()(topic="a").draft)  # expect: str
reveal_type(writer.load("program.json"))  # expect: Writer
reveal_type(writer.grade.signature.instructions)  # expect: str
reveal_type(writer.grade.demos)  # expect: list[Any]
writer.grade.signature = writer.grade.signature.with_instructions("Grade.")


def metric(example: dspex.Example, prediction: dspex.Prediction, trace: Any = None) -> float:
    return float(example.grade == prediction.grade)


evaluate = dspex.Evaluate(devset=[dspex.Example(text="a", grade=1).with_inputs("text")], metric=metric)
reveal_type(evaluate(writer))  # expect: EvaluationResult


def improve(optimizer: dspex.Optimizer) -> None:
    reveal_type(optimizer.compile(writer, trainset=[]))  # expect: Writer
    reveal_type(optimizer.compile(writer.grade, trainset=[])(text="a").grade)  # expect: int
