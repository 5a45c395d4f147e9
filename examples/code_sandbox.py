"""Answers that a program works out, which the embedded model writes and Monty runs.

python examples/code_sandbox.py "How many minutes are 12 days?"

Needs dspex-monty and dspex-llamacpp. The model is a small base model: it can say which sum to do from four demos, and could
not do it itself.
"""

import sys

import dspex

QUESTIONS = ["What do 48 pens cost at 37 cents each?", "How many minutes are 12 days?"]
WORKED = [
    ("What do 17 pens cost at 23 cents each?", "17 * 23", 391),
    ("What is left of 1250 euros after 8 bills of 64 euros?", "1250 - 8 * 64", 738),
    ("How many minutes are 3 days?", "3 * 24 * 60", 4320),
    ("What is the sum of the numbers from 1 to 50?", "sum(range(1, 51))", 1275),
]


def solver() -> dspex.ProgramOfThought:
    """A program of thought with demos of what it writes and what it makes of the result."""
    made = dspex.ProgramOfThought("question -> answer: int", max_iters=2, sandbox="monty")
    for question, code, answer in WORKED:
        submit = f"SUBMIT({{'answer': {code}}})"
        made.code_generate.predict.demos.append(
            dspex.Example(
                question=question, reasoning="Python works it out.", generated_code=f"```python\n{submit}\n```"
            )
        )
        made.generate_output.predict.demos.append(
            dspex.Example(
                question=question,
                final_generated_code=submit,
                code_output=f'{{"answer":{answer}}}',
                reasoning="The program says so.",
                answer=answer,
            )
        )
    return made


def main(lm: dspex.LM, questions: list[str]) -> list[int]:
    """The answers."""
    program = solver()
    with dspex.context(lm=lm), dspex.budget(calls=6 * len(questions)):
        return [program(question=question).answer for question in questions]


if __name__ == "__main__":
    asked = sys.argv[1:] or QUESTIONS
    for question, answer in zip(asked, main(dspex.LM("llamacpp/gemma-3-270m", max_tokens=90), asked), strict=True):
        print(question, answer)
