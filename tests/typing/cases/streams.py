"""A stream's last event has the prediction of the signature; its inputs are those of a call."""

from typing import reveal_type

import dspex
from dspex.streaming import FieldDelta, Finished, ToolFinished, ToolStarted


class QA(dspex.Signature):
    """Answer."""

    question: str = dspex.InputField()
    answer: str = dspex.OutputField()


predict = dspex.Predict(QA)
predict.astream(questoin="Why?")  # error
predict.stream(question=3)  # error
dspex.ReAct(QA, tools=[]).astream(question="Why?", max_iters=3)


async def read() -> None:
    async for event in predict.astream(question="Why?"):
        match event:
            case FieldDelta():
                reveal_type(event.text)  # expect: str
            case ToolStarted() | ToolFinished():
                reveal_type(event.call_id)  # expect: str
            case Finished():
                reveal_type(event.prediction.answer)  # expect: str
                assert event.prediction.anwser  # error
            case _:
                pass


for one in predict.stream(question="Why?", config={"temperature": 1.0}):
    if isinstance(one, Finished):
        reveal_type(one.prediction.answer)  # expect: str


class Own(dspex.Module):
    """One that says nothing of its inputs."""


for other in Own().stream(anything=1):
    if isinstance(other, FieldDelta):
        reveal_type(other.field)  # expect: str
