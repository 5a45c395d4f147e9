"""How many replies do not parse, and how many a second call mends: dspex beside DSPy's policy, on the embedded model.

    python benchmarks/parse_recovery.py [--replies 120] [--seed 0]

Needs dspex-llamacpp; dspy 3.4.1 too for its column. Takes about five minutes of one core.

The model is a base model of 270M parameters that goes on with a conversation of two demos, at temperature 1.5, in
Chat form without the last turn's reminder, which a base model takes for the end of the pattern. The same first replies are read by both parsers, so the columns differ by the parser and by the second call
only: ours shows the model its reply and the fault (in JSON form held to the schema, in JSON form by words, or in Chat
form); DSPy's asks the same question anew in JSON form. "right" is the share of values equal to the truth, among all.

Seen with the defaults (dspy 3.4.1, two cores; 24 November 2026, and the same on 30 November):

    | policy                                      | first reply fails | mended by one call | right in the end |
    | dspex: reply shown, JSON held to the schema | 30 of 120         | 30 (100%)          | 62%              |
    | dspex: reply shown, JSON by words           | 30 of 120         | 0                  | 52%              |
    | dspex: reply shown, Chat                    | 30 of 120         | 0                  | 52%              |
    | DSPy: anew, JSON by words                   | 29 of 120         | 4 (14%)            | 50%              |

So words mend nothing with a base model, which takes no instructions, and DSPy's few come from its demos in JSON form; a
schema mends all, of which 12 of 30 were right.
"""

import argparse
import asyncio
import importlib.util
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

import dspex
from dspex.core.errors import AdapterParseError
from dspex.core.messages import LMResponse, Message
from dspex.plugin import Capabilities

# The file has no template of its own; this one only sets the turns apart.
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% if not loop.last %}\n\n{% endif %}{% endfor %}\n\n"
SAMPLING = {"temperature": 1.5, "max_tokens": 60, "stop": ["[[ ## completed ## ]]", "[[ ## text ## ]]"]}
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana")
THINGS = ("apples", "pears", "plums", "figs", "nuts", "eggs")


class ByDemos(dspex.ChatAdapter):
    """Chat whose last turn looks like those of its demos."""

    def user_message_output_requirements(self, signature: Any) -> str:
        return ""

    def format_user_message_content(self, *args: Any, **kwargs: Any) -> Any:
        return super().format_user_message_content(*args, **kwargs).rstrip()


class Person(msgspec.Struct):
    name: str
    age: int


class Task(NamedTuple):
    """A signature, and what makes an input and the truth."""

    signature: Any
    make: Callable[[random.Random], tuple[str, Any]]


def count(rng: random.Random) -> tuple[str, int]:
    number = rng.choice([3, 12, 40, 250, 1200])
    return f"{rng.choice(NAMES)} bought {number:,} {rng.choice(THINGS)}.", number


def is_positive(rng: random.Random) -> tuple[str, bool]:
    good = rng.random() < 0.5
    return f"The {rng.choice(THINGS)} were {rng.choice(['lovely', 'great'] if good else ['awful', 'rotten'])}.", good


def mood(rng: random.Random) -> tuple[str, str]:
    kind = rng.choice(["happy", "sad", "not sure"])
    words = {"happy": "What a wonderful day!", "sad": "I cried all day.", "not sure": "I do not know what to think."}
    return f"{rng.choice(NAMES)}: {words[kind]}", kind


def items(rng: random.Random) -> tuple[str, list[str]]:
    chosen = rng.sample(THINGS, rng.randint(2, 3))
    return f"{rng.choice(NAMES)} needs {' and '.join(chosen)}.", chosen


def person(rng: random.Random) -> tuple[str, Person]:
    one = Person(rng.choice(NAMES), rng.randint(5, 90))
    return f"{one.name} is {one.age} years old.", one


def tasks() -> dict[str, Task]:
    types = {"Person": Person}
    return {
        "int": Task(dspex.Signature("text -> number: int", "How many?"), count),
        "bool": Task(dspex.Signature("text -> is_good: bool", "Is it praise?"), is_positive),
        "Literal": Task(dspex.Signature("text -> mood: Literal['happy', 'sad', 'not sure']", "Tell the mood."), mood),
        "list[str]": Task(dspex.Signature("text -> things: list[str]", "List the things."), items),
        "Struct": Task(dspex.Signature("text -> person: Person", "Who is it?", custom_types=types), person),
    }


class Case(NamedTuple):
    """One question, the truth, and the model's first reply to it."""

    task: str
    signature: Any
    demos: list[dict[str, Any]]
    text: str
    truth: Any
    messages: tuple[Message, ...]
    reply: str


async def first_replies(lm: dspex.LM, count: int, rng: random.Random) -> list[Case]:
    """The model's replies in Chat form; one task after another, so that a prompt's start stays warm."""
    cases = []
    every = tasks()
    for name, task in every.items():
        output = task.signature.compiled.outputs[0].name
        demos = [{"text": text, output: truth} for text, truth in (task.make(rng) for _ in range(2))]
        for _ in range(count // len(every)):
            text, truth = task.make(rng)
            messages = ByDemos().render(task.signature, demos, {"text": text})
            reply = await ask(lm, messages)
            cases.append(Case(name, task.signature, demos, text, truth, messages, reply))
    return cases


async def ask(lm: dspex.LM, messages: tuple[Message, ...], schema: Any = None) -> str:
    params = {**SAMPLING, "stop": None} if schema else SAMPLING
    reply: LMResponse = await lm.complete(lm.request(messages, params, schema=schema))
    return reply.choices[0].text


def read(adapter: Any, case: Case, reply: str) -> tuple[bool, bool, Any]:
    """Whether it parses, whether it is right, and the fault."""
    try:
        (value,) = adapter.parse(case.signature, reply).values()
    except AdapterParseError as error:
        return False, False, error
    return True, value == case.truth, None


class Column:
    """What one policy makes of the replies."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0

    def add(self, first: bool, second: bool, right: bool) -> None:
        self.counts["replies"] += 1
        self.counts["failed"] += not first
        self.counts["mended"] += not first and second
        self.counts["right"] += right

    def line(self) -> str:
        all_, failed, mended = (self.counts[name] for name in ("replies", "failed", "mended"))
        share = f"{mended / failed:.0%}" if failed else "-"
        right = self.counts["right"]
        return f"| {self.name} | {failed} of {all_} | {mended} ({share}) | {right / all_:.0%} | {self.seconds:.0f} s |"


async def ours(lm: dspex.LM, cases: list[Case], name: str, second: Any, *, schema: bool) -> Column:
    """Re-asking in the form of `second`."""
    column, began = Column(name), time.process_time()
    chat = dspex.ChatAdapter()
    for case in cases:
        parsed, right, fault = read(chat, case, case.reply)
        mended = False
        if not parsed:
            messages = case.messages + second.reask(case.signature, case.reply, fault)
            held = second.schema(case.signature, Capabilities(json_schema=True))[0] if schema else None
            mended, right, _ = read(second, case, await ask(lm, messages, held))
        column.add(parsed, mended, right)
    column.seconds = time.process_time() - began
    return column


async def theirs(lm: dspex.LM, cases: list[Case]) -> Column:
    """DSPy's parser, then its second call: the whole question again in JSON form."""
    import dspy  # noqa: TID251  it is what this measures

    column, began = Column("DSPy: anew, JSON by words"), time.process_time()
    chat, json = dspy.ChatAdapter(), dspy.JSONAdapter()
    signatures = {name: dspy_signature(dspy, task.signature) for name, task in tasks().items()}

    def parsed_by(adapter: Any, case: Case, reply: str) -> tuple[bool, bool]:
        try:
            (value,) = adapter.parse(signatures[case.task], reply).values()
        except dspy.utils.exceptions.AdapterParseError:
            return False, False
        plain = value.model_dump() if hasattr(value, "model_dump") else value
        return True, plain == msgspec.to_builtins(case.truth)

    for case in cases:
        parsed, right = parsed_by(chat, case, case.reply)
        mended = False
        if not parsed:
            demos = [msgspec.to_builtins(demo) for demo in case.demos]
            asked = json.format(signatures[case.task], demos, {"text": case.text})
            messages = tuple(Message.of(one["role"], one["content"]) for one in asked)
            mended, right = parsed_by(json, case, await ask(lm, messages))
        column.add(parsed, mended, right)
    column.seconds = time.process_time() - began
    return column


def dspy_signature(dspy: Any, signature: Any) -> Any:
    """The same signature; a Struct as a pydantic model."""
    import pydantic

    (output,) = signature.compiled.outputs
    kind = (
        pydantic.create_model("Person", name=(str, ...), age=(int, ...))
        if output.annotation is Person
        else output.annotation
    )
    fields = {"text": (str, dspy.InputField()), output.name: (kind, dspy.OutputField())}
    return dspy.Signature(fields, signature.compiled.instructions)


async def main(replies: int, seed: int) -> None:
    lm = dspex.LM("llamacpp/gemma-3-270m", chat_template=TEMPLATE, cache=False, seed=seed)
    began = time.process_time()
    cases = await first_replies(lm, replies, random.Random(seed))
    print(f"{len(cases)} first replies in {time.process_time() - began:.0f} s of CPU\n")
    json, chat = dspex.JSONAdapter(), dspex.ChatAdapter()
    columns = [
        await ours(lm, cases, "dspex: reply shown, JSON held to the schema", json, schema=True),
        await ours(lm, cases, "dspex: reply shown, JSON by words", json, schema=False),
        await ours(lm, cases, "dspex: reply shown, Chat", chat, schema=False),
    ]
    if importlib.util.find_spec("dspy"):
        columns.append(await theirs(lm, cases))
    print("| policy | first reply fails | mended by one call | right in the end | CPU |\n|---|---|---|---|---|")
    for column in columns:
        print(column.line())
    failed = Counter(case.task for case in cases if not read(chat, case, case.reply)[0])
    print(f"\nFirst replies that fail, by type: {dict(failed)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--replies", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(main(options.replies, options.seed))
