"""DSPy's half of `quality_dspy.py`: its optimizers over a model at the other end of a pipe. Run by an interpreter that has dspy."""

import json
import logging
import re
import sys
from types import SimpleNamespace
from typing import Any, Literal

import dspy  # noqa: TID251  this is its side of a comparison

OUT, sys.stdout = sys.stdout, sys.stderr  # whatever DSPy prints is no message


class Pipe(dspy.BaseLM):
    """A model that is asked by a line of JSON and answers by one."""

    def __init__(self, temperature: float = 0.0) -> None:
        super().__init__("pipe", temperature=temperature, max_tokens=256, cache=False)

    def __call__(self, prompt: str | None = None, messages: Any = None, **kwargs: Any) -> list[str]:
        """As many texts as `n` says; none of DSPy's caches is asked."""
        text = prompt if prompt is not None else "\n\n".join(one["content"] for one in messages)
        known = {name: kwargs[name] for name in ("stop", "grammar", "max_tokens") if kwargs.get(name) is not None}
        heat = kwargs.get("temperature")
        known["temperature"] = self.kwargs["temperature"] if heat is None else heat
        return [asked({"prompt": text, **known})[0] for _ in range(kwargs.get("n") or 1)]

    def forward(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def copy(self, **kwargs: Any) -> "Pipe":
        """With another temperature; DSPy's rollout_id means nothing here, as nothing is cached."""
        return Pipe(kwargs.get("temperature", self.kwargs["temperature"]))

    def launch(self) -> None:
        """It is always there: BetterTogether asks for this of each predictor's model."""

    kill = launch

    def finetune(self, train_data: Any, train_data_format: Any, train_kwargs: Any = None) -> Any:
        """A training that gives back this model: what it was to learn goes to the other side."""
        asked({"rows": train_data, "format": train_data_format})
        return SimpleNamespace(result=lambda: self, thread=SimpleNamespace(join=lambda: None))


def embedded(texts: list[str]) -> list[list[float]]:
    """Vectors of KNNFewShot's own vectorizer at the other end."""
    return asked({"embed": texts})


def asked(request: dict[str, Any]) -> Any:
    print(json.dumps(request), file=OUT, flush=True)
    return json.loads(sys.stdin.readline())


class Plain(dspy.Adapter):
    """Instructions, examples and inputs as `Label: value` lines that end with the first output's label.

    Where a proposal stops before its later fields it has `unsaid` in their place: DSPy's COPRO and InferRules end at the first that does,
    and this model's do.
    """

    def __init__(self, grammar: str | None, unsaid: dict[str, str]) -> None:
        super().__init__()
        self.grammar = grammar
        self.unsaid = unsaid

    def __call__(
        self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, demos: Any, inputs: Any
    ) -> list[dict[str, Any]]:
        """One call; replies to a choice are held to it, as those of the task's own signature are to its grammar."""
        lm_kwargs = {**lm_kwargs, "stop": ["\n" if len(signature.output_fields) == 1 else "\n\n"]}
        if grammar := self.grammar_of(signature):
            lm_kwargs["grammar"] = grammar
        texts = lm(messages=self.format(signature, demos, inputs), **lm_kwargs)
        return [self.parse(signature, text) for text in texts]

    async def acall(self, *given: Any, **named: Any) -> Any:
        return self(*given, **named)

    def grammar_of(self, signature: Any) -> str | None:
        [field, *more] = signature.output_fields.values()
        if more:
            return None
        choices = getattr(field.annotation, "__args__", None)
        if choices:
            return f'root ::= " " ({" | ".join(json.dumps(one) for one in choices)}) "\\n"'
        return self.grammar if "iso" in signature.output_fields else None

    def format(self, signature: Any, demos: Any, inputs: Any) -> list[dict[str, Any]]:
        fields = {**signature.input_fields, **signature.output_fields}
        blocks = [signature.instructions]
        blocks += [
            "\n".join(f"{label(fields, name)} {demo[name]}" for name in fields if name in demo) for demo in demos
        ]
        asked = [
            f"{label(fields, name)} {str(inputs[name]).strip()}" for name in signature.input_fields if name in inputs
        ]
        blocks.append("\n".join([*asked, label(fields, next(iter(signature.output_fields)))]))
        return [{"role": "user", "content": "\n\n".join(blocks)}]

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        names = list(signature.output_fields)
        labels = {label(signature.output_fields, name): name for name in names}
        pieces = re.split(
            "^(" + "|".join(map(re.escape, labels)) + ")", f"{next(iter(labels))} {completion}", flags=re.MULTILINE
        )
        found = {labels[one]: text.strip() for one, text in zip(pieces[1::2], pieces[2::2], strict=True)}
        found |= {name: self.unsaid[name] for name in names if name not in found and name in self.unsaid}
        if missing := [name for name in names if name not in found]:
            raise dspy.utils.exceptions.AdapterParseError("Plain", signature, completion, f"no {missing}")
        return found


def label(fields: Any, name: str) -> str:
    return fields[name].json_schema_extra["prefix"]


def program(task: dict[str, Any]) -> Any:
    """The bare program of the row."""
    kind = Literal[tuple(task["choices"])] if task["choices"] else str
    fields = {task["given"]: (str, dspy.InputField()), task["wanted"]: (kind, dspy.OutputField())}
    return dspy.Predict(dspy.Signature(fields, task["instructions"]), max_tokens=task["max_tokens"])


def compiled(task: dict[str, Any], student: Any, train: Any, val: Any, right: Any) -> Any:
    """By the optimizer's defaults, but for the numbers that `quality.py` has too."""

    def told(example: Any, made: Any, _trace: Any = None, _name: Any = None, _steps: Any = None) -> Any:
        is_right = right(example, made)
        words = "Right." if is_right else f"Wrong: the answer is {example[task['wanted']]}."
        return dspy.Prediction(score=float(is_right), feedback=words)

    one = {"num_threads": 1}
    bound = student.deepcopy()
    bound.set_lm(Pipe())  # BetterTogether and BootstrapFinetune want each predictor to have its model
    made = {
        "LabeledFewShot": lambda: dspy.LabeledFewShot().compile(student, trainset=train),
        "BootstrapFewShot": lambda: dspy.BootstrapFewShot(right).compile(student, trainset=train),
        "BootstrapRS": lambda: dspy.BootstrapFewShotWithRandomSearch(right, num_candidate_programs=4, **one).compile(
            student, trainset=train, valset=val
        ),
        "KNNFewShot": lambda: dspy.KNNFewShot(4, train, dspy.Embedder(embedded, caching=False), metric=right).compile(
            student
        ),
        "MIPROv2": lambda: dspy.MIPROv2(metric=right, auto=None, num_candidates=4, **one).compile(
            student, trainset=train, valset=val, num_trials=6, minibatch=False
        ),
        "GEPA": lambda: dspy.GEPA(metric=told, max_metric_calls=260, reflection_lm=Pipe(1.0), **one).compile(
            student, trainset=train, valset=val
        ),
        "COPRO": lambda: dspy.COPRO(metric=right, breadth=2, depth=2).compile(student, trainset=train, eval_kwargs=one),
        "SIMBA": lambda: dspy.SIMBA(metric=right, bsize=12, num_candidates=3, max_steps=2, **one).compile(
            student, trainset=train
        ),
        "InferRules": lambda: dspy.InferRules(metric=right, num_candidates=4, num_rules=5, **one).compile(
            student, trainset=train, valset=val
        ),
        "BootstrapFewShotWithOptuna": lambda: dspy.BootstrapFewShotWithOptuna(
            right, num_candidate_programs=5, **one
        ).compile(student, max_demos=4, trainset=train, valset=val),
        "BetterTogetherPrompts": lambda: dspy.BetterTogether(
            right,
            i=dspy.COPRO(metric=right, breadth=2, depth=1),
            p=dspy.BootstrapFewShotWithRandomSearch(right, num_candidate_programs=1, **one),
        ).compile(
            bound,
            trainset=train,
            valset=val,
            strategy="i -> p",
            seed=task["seed"],
            optimizer_compile_args={"i": {"eval_kwargs": one}},
            **one,
        ),
        "BootstrapFinetune": lambda: dspy.BootstrapFinetune(
            right, adapter=dspy.ChatAdapter(), exclude_demos=task["exclude_demos"], **one
        ).compile(bound, trainset=train),
    }
    return made[task["optimizer"]]()


def main() -> None:
    logging.disable(logging.CRITICAL)
    task = json.loads(sys.stdin.readline())
    given, wanted = task["given"], task["wanted"]
    train, val, test = (
        [dspy.Example(**{given: text, wanted: answer}).with_inputs(given) for text, answer in task[part]]
        for part in ("train", "validation", "test")
    )
    student = program(task)
    student.demos = val[: task.get("shown", 0)]
    prefix = label(student.signature.output_fields, wanted)
    dspy.configure(
        lm=Pipe(),
        adapter=Plain(task["grammar"], {"proposed_prefix_for_output_field": prefix, "natural_language_rules": ""}),
    )

    def right(example: Any, made: Any, _trace: Any = None) -> bool:
        return str(made[wanted]).strip() == example[wanted]

    def tested(one: Any) -> str:
        return "".join("1" if right(example, one(**{given: example[given]})) else "0" for example in test)

    made = compiled(task, student, train, val, right)
    asked({"compiled": True})
    before, after = task["before"] or tested(student), tested(made)
    print(json.dumps({"right": after, "before": before, "state": made.dump_state()}, default=str), file=OUT, flush=True)


if __name__ == "__main__":
    main()
