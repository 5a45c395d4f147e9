"""New instructions for a predictor, from how its calls went: asked of a model, or of a function of the user's."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dspex import Audio, Candidate, Failure, File, Image, InputField, OutputField, Signature, Type
from dspex_gepa.records import Record
from dspex_gepa.stepping import bound, fenced, under

MOST_CHARS = 8_000  # of one value: a reflection reads several runs, and some of them hold whole documents
FENCE = "```"


class Reflect(Signature):
    """Improve the instructions that a language model is given for one part of a program.

    You see the present instructions, what the part reads and writes, and some of its runs with comments on them. First work out
    the task: what the inputs look like, and what the comments ask of the outputs. Then write instructions with which the model
    would have done well on all of these runs, and would on others of their kind. Put into them every rule and every fact
    about the subject that the comments give away: the model will see neither the runs nor the comments. Keep what already
    works, and if good runs went about it in a way that helps in general, describe that way. Write nothing that holds for one
    of these inputs only.
    """

    current_instruction: str = InputField(desc="the present instructions")
    part: str = InputField(desc="the part's name, what it reads and what it writes")
    runs: str = InputField(desc="runs of the part, each with a comment")
    new_instruction: str = OutputField(desc="the new instructions, complete and on their own")


class Question(msgspec.Struct, frozen=True):
    """What is reflected on: a candidate, and the records of each of its components that is to change."""

    candidate: Candidate
    records: Mapping[str, Sequence[Record]]

    @property
    def texts(self) -> dict[str, str]:
        """The candidate's instructions by predictor."""
        return {path: state.instructions for path, state in self.candidate.predictors.items()}


class Writer:
    """Gives new texts; one that could not be had is left out, and its reason kept.

    `proposer` takes the place of the questions to the model of the role "reflection"; `lm` is the model in its context.
    """

    def __init__(self, ctx: Any, proposer: Any, lm: Any, predictors: Mapping[str, Any]) -> None:
        self._ctx = ctx
        self._proposer = proposer
        self._lm = lm
        self._predictors = predictors
        self._seen: Counter[tuple[str, ...]] = Counter()
        self.failures: list[str] = []

    async def texts(self, questions: Sequence[Question]) -> list[dict[str, str]]:
        """The new texts for each question by component, all asked for side by side."""
        if self._proposer is not None:
            return [self._read(said, one) for said, one in zip(await self._proposed(questions), questions, strict=True)]
        pairs = [(place, path) for place, question in enumerate(questions) for path in question.records]
        replies = await self._ctx.gather(*(self._reflected(questions[place], path) for place, path in pairs))
        found: list[dict[str, str]] = [{} for _ in questions]
        for (place, path), reply in zip(pairs, replies, strict=True):
            text = "" if isinstance(reply, Failure) else unfenced(reply.new_instruction)
            if text:
                found[place][path] = text
            else:
                self.failures.append(reply.error if isinstance(reply, Failure) else "the new text was empty")
        return found

    async def _reflected(self, question: Question, path: str) -> Any:
        compiled = self._predictors[path].signature.compiled
        runs = shown(question.records[path])
        replies = await self._ctx.ask(
            Reflect,
            role="reflection",
            sample=self._sample(question.candidate.key, path, runs),
            current_instruction=question.texts[path],
            part=f"`{path}` reads {_listed(compiled.inputs)} and writes {_listed(compiled.outputs)}",
            runs=runs,
        )
        return replies[0]

    def _sample(self, *question: str) -> int:
        """How often this was asked before: the same answer once more would be of no use."""
        self._seen[question] += 1
        return self._seen[question] - 1

    async def _proposed(self, questions: Sequence[Question]) -> list[Mapping[str, Any]]:
        asked = []
        for one in questions:
            told = {path: shown(records) for path, records in one.records.items()}
            sample = self._sample(one.candidate.key, *told, *told.values())
            step = fenced(under(self._lm, bound(self._proposer, **self._given(one))), dict)
            asked.append(self._ctx.compute("proposal", step, one.texts, told, sample, version=self._proposer))
        found: list[Mapping[str, Any]] = await self._ctx.gather(*asked)
        return found

    def _given(self, question: Question) -> dict[str, Any]:
        return {
            "candidate": question.texts,
            "reflective_dataset": {path: list(map(_textual, records)) for path, records in question.records.items()},
            "components_to_update": list(question.records),
        }

    def _read(self, said: Mapping[str, Any], question: Question) -> dict[str, str]:
        """The texts among what a proposer gave."""
        given = said.get("value", {})
        found = {path: text for path, text in given.items() if path in question.records and _is_text(text)}
        if not found:
            self.failures.append(said.get("error", f"the instruction_proposer gave no text for {[*question.records]}"))
        return found


def shown(records: Sequence[Record]) -> str:
    """Records as a reflection reads them."""
    return "\n\n".join(f"# Run {number}\n\n{_run(record)}" for number, record in enumerate(records, 1))


def unfenced(text: str) -> str:
    """A text without blanks around it, nor a fence that is around all of it."""
    text = text.strip()
    lines = text.splitlines()
    if len(lines) > 2 and lines[0].startswith(FENCE) and lines[-1] == FENCE and text.count(FENCE) == 2:
        return "\n".join(lines[1:-1]).strip()
    return text


def _run(record: Record) -> str:
    outputs = record["Generated Outputs"]
    made = outputs if isinstance(outputs, str) else _fields(outputs)
    return f"## Inputs\n\n{_fields(record['Inputs'])}\n\n## Outputs\n\n{made}\n\n## Comment\n\n{record['Feedback']}"


def _fields(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    if isinstance(value, Image | Audio | File):
        return f"({type(value).__name__}, not shown)"
    text = value if isinstance(value, str) else json.dumps(value, default=_data, ensure_ascii=False)
    if len(text) <= MOST_CHARS:
        return text
    half = MOST_CHARS // 2
    return f"{text[:half]}\n({len(text) - MOST_CHARS:,} characters left out)\n{text[-half:]}"


def _data(value: Any) -> Any:
    dump = getattr(value, "toDict", None) or getattr(value, "model_dump", None)
    return dump() if dump is not None else str(value)


def _textual(record: Record) -> Record:
    """A record as a proposer is given it: values as texts, but those that are parts of a message."""
    outputs = record["Generated Outputs"]
    made = outputs if isinstance(outputs, str) else {name: str(value) for name, value in outputs.items()}
    inputs = {name: value if _is_part(value) else str(value) for name, value in record["Inputs"].items()}
    return {"Inputs": inputs, "Generated Outputs": made, "Feedback": record["Feedback"]}


def _is_part(value: Any) -> bool:
    return isinstance(value, Type) or (isinstance(value, list) and any(map(_is_part, value)))


def _listed(fields: Sequence[Any]) -> str:
    return ", ".join(f"`{field.name}` ({field.type_text}{f': {field.desc}' if field.desc else ''})" for field in fields)


def _is_text(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())
