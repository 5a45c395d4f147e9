"""Modules made of others, and functions as modules."""

from typing import reveal_type

import dspex


class QA(dspex.Signature):
    question: str = dspex.InputField()
    answer: int = dspex.OutputField()


def search(query: str) -> str:
    return query


def reward(inputs: dict[str, object], prediction: dspex.Prediction) -> float:
    return 1.0


agent = dspex.ReAct(QA, tools=[search], max_iters=3)
result = agent(question="a")
reveal_type(result.answer)  # expect: int
reveal_type(result.reasoning)  # expect: str
agent(query="a")  # error
reveal_type(agent(question="a", max_iters=2).answer)  # expect: int
reveal_type(agent(question="a", run_dir="runs/a").answer)  # expect: int
dspex.ReAct(QA, [search], max_tool_calls={"search": 2}, native=True)
dspex.ReAct(QA, [search], max_steps=3)  # error
reveal_type(dspex.ReAct("question -> answer", tools=[search])(question="a"))  # expect: Prediction
reveal_type(agent.deepcopy()(question="a").answer)  # expect: int


worked_out = dspex.ProgramOfThought(QA, max_iters=2, sandbox="monty")
reveal_type(worked_out(question="a").answer)  # expect: int
dspex.ProgramOfThought(QA, sandbx="monty")  # error
coder = dspex.CodeAct(QA, [search], limits=dspex.SandboxLimits(seconds=5))
reveal_type(coder(question="a", max_iters=2).answer)  # expect: int
reader = dspex.RLM(QA, max_iters=3, tools=[search])
reveal_type(reader(question="a").answer)  # expect: int
reader(query="a")  # error
reveal_type(dspex.RLM("text -> answer")(text="a"))  # expect: Prediction


async def main() -> None:
    reveal_type((await agent.acall(question="a")).answer)  # expect: int
    async for outcome in agent.outcomes([dspex.Example(question="a")]):
        reveal_type(outcome.index)  # expect: int
        reveal_type(outcome.error)  # expect: BaseException | None
    reveal_type(await count.acall("a"))  # expect: int


@dspex.module
async def count(text: str, times: int = 1) -> int:
    return len(text) * times


@dspex.module
def shout(text: str) -> str:
    return text.upper()


reveal_type(count("a", times=2))  # expect: int
reveal_type(shout(text="a"))  # expect: str
count(3)  # error
shout()  # error
best = dspex.BestOfN(agent, N=3, reward_fn=reward, threshold=0.5)
dspex.Refine(agent, 3, reward, None, fail_count=1)
dspex.Refine(agent, 3, reward)  # error
reveal_type(best.deepcopy())  # expect: BestOfN
for outcome in best.outcomes([{"question": "a"}], ordered=False):
    reveal_type(outcome.ok)  # expect: bool
reveal_type(agent.explain().parts[0].demos)  # expect: int | None
