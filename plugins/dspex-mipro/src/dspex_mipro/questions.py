"""What a prompt model is asked for."""

from collections.abc import Mapping
from typing import Any

from dspex import Failure, InputField, OutputField, Signature

COMPLETE = "complete"

# What an instruction may be given to bear in mind; one is drawn for each, "" is none.
TIPS = (
    "",
    "Try an approach that few would think of.",
    "Use few and plain words.",
    "Say exactly what a good answer looks like, and what it never has.",
    "Let the reader feel that much depends on the answer: a mistake does real harm.",
    "Give the reader a role: somebody who has done this work for years.",
)


class Observe(Signature):
    """Look at a sample of a data set and note what helps somebody who has to make the outputs from the inputs.

    Note subjects, form and length of inputs and outputs, how outputs follow from inputs, and what is unusual. Repeat nothing
    that is known already. If the examples show nothing new, answer with the one word COMPLETE.
    """

    examples: str = InputField(desc="one after another")
    known: str = InputField(desc="what was noted before")
    notes: str = OutputField(desc="what is new, in a few sentences, or COMPLETE")


class Summarise(Signature):
    """Condense notes on a data set into two or three sentences that say what the task is and what matters in it."""

    notes: str = InputField()
    summary: str = OutputField()


class Describe(Signature):
    """Say in two or three sentences what this program does with what it is given, and how its parts work together."""

    outline: str = InputField(desc="its parts, with the fields that each reads and writes")
    example: str = InputField(desc="what it is given, and what should come out")
    description: str = OutputField()


class DescribePart(Signature):
    """Say in a sentence or two what this part of a program has to do, so that the program as a whole does well."""

    outline: str = InputField(desc="the program's parts, with the fields that each reads and writes")
    description: str = InputField(desc="what the program does")
    part: str = InputField()
    purpose: str = OutputField()


class Propose(Signature):
    """Write the instruction that a language model is to follow in this step, a better one than it has now.

    It stands above the fields, so it says what to do and what the outputs must be like. It must serve every input of this
    kind, and so speaks of no single example. Answer with the instruction alone.
    """

    data: str = InputField(desc="the data that it is for")
    program: str = InputField(desc="the program that the step belongs to")
    purpose: str = InputField(desc="what the step is for")
    step: str = InputField(desc="what the step reads -> what it writes")
    runs: str = InputField(desc="runs of the step that went well")
    current: str = InputField(desc="the instruction that it has now")
    tip: str = InputField(desc="to bear in mind")
    instruction: str = OutputField()


async def asked(ctx: Any, signature: Any, given: Mapping[str, str | None], **how: Any) -> str | None:
    """The one output of a question, without the inputs that are None or empty; None for no answer, or none of use."""
    inputs = {name: value for name, value in given.items() if value}
    for name in given.keys() - inputs.keys():
        signature = signature.delete(name)
    [answer] = await ctx.ask(signature, **how, **inputs)
    [output] = signature.output_fields
    text = "" if isinstance(answer, Failure) else str(answer[output]).strip()
    return text or None
