"""An agent with the tools of an MCP server, on the embedded model.

python examples/mcp_agent.py "How many copies of Dune are there?"

Needs dspex-mcp and dspex-llamacpp. The model is a small base model, so the agent is shown by demos how it works; a larger one
needs none.
"""

import sys
from pathlib import Path
from typing import Any

import dspex
import dspex_mcp

SERVER = [sys.executable, str(Path(__file__).with_name("library_server.py"))]
QUESTIONS = ["How many copies of Dune are there?", "Who wrote Dubliners?"]

# Question, tool, its argument, the thought before it, what it gave, and the answer.
WORKED = [
    ("How many copies of Emma are there?", "copies", "Emma", "I need the number of copies of Emma.", "1 copies", "1"),
    ("Who wrote Ulysses?", "author", "Ulysses", "I need the author of Ulysses.", "Joyce", "Joyce"),
    (
        *("How many copies of Persuasion do you have?", "copies", "Persuasion"),
        *("I need the number of copies of Persuasion.", "2 copies", "2"),
    ),
]
ENOUGH = "I know enough."


def agent(tools: Any) -> dspex.ReAct:
    """An agent with demos of each of its steps."""
    made = dspex.ReAct("question -> answer", tools=tools, max_iters=4)
    for question, tool, title, thought, result, answer in WORKED:
        steps = f'Step 1\n  thought: {thought}\n  call: {tool} {{"title":"{title}"}}\n  result: {result}'
        call = {"next_thought": thought, "next_tool_name": tool, "next_tool_args": {"title": title}}
        finish = {"next_thought": ENOUGH, "next_tool_name": "finish", "next_tool_args": {}}
        made.react.demos += [
            dspex.Example(question=question, trajectory="(no steps yet)", **call),
            dspex.Example(question=question, trajectory=steps, **finish),
        ]
        ended = f"{steps}\nStep 2\n  thought: {ENOUGH}\n  call: finish {{}}\n  result: Completed."
        reasoning = f"The tool says {result}."
        made.extract.predict.demos.append(
            dspex.Example(question=question, trajectory=ended, reasoning=reasoning, answer=answer)
        )
    return made


def main(lm: dspex.LM, questions: list[str]) -> list[dspex.Prediction]:
    """The agent's answers; the server runs as long as they are being made."""
    with (
        dspex_mcp.connect(SERVER, timeout_s=10) as library,
        dspex.context(lm=lm),
        dspex.budget(calls=5 * len(questions)),
    ):
        works = agent(library.tools)
        return [works(question=question) for question in questions]


if __name__ == "__main__":
    asked = sys.argv[1:] or QUESTIONS
    for question, found in zip(asked, main(dspex.LM("llamacpp/gemma-3-270m", max_tokens=60), asked), strict=True):
        calls = [value for name, value in found.trajectory.items() if name.startswith(("tool_name", "observation"))]
        print(f"{question} {found.answer}   ({' -> '.join(map(str, calls))})")
