"""Programs and examples as text for a prompt model; no source code is read."""

from collections.abc import Iterable, Mapping
from typing import Any

from dspex import Demo, Example


def outline(program: Any) -> str:
    """The tree of a program's modules, each predictor with its fields and its instruction."""
    lines = []
    predictors = {id(predictor) for predictor in program.predictors()}
    for path, module in program.named_sub_modules():
        lines.append(f"{path}: {type(module).__name__}")
        if id(module) in predictors:
            lines += [f"    {fields(module.signature)}", f"    {module.signature.instructions}"]
    return "\n".join(lines)


def fields(signature: Any) -> str:
    """A signature's fields, with types and descriptions: inputs -> outputs."""
    sides = [
        ", ".join(_field(one) for one in side.values()) for side in (signature.input_fields, signature.output_fields)
    ]
    return " -> ".join(sides)


def _field(one: Any) -> str:
    return f"{one.name}: {one.type_text}" + (f" ({one.desc})" if one.desc else "")


def example_text(example: Example) -> str:
    """An example's fields, one a line."""
    return _lines(example.toDict())


def demo_text(demos: Iterable[Demo]) -> str:
    """Runs of a predictor, one after another."""
    return "\n\n".join(_lines(demo.fields) for demo in demos)


def _lines(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in values.items())
