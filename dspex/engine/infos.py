"""What an algorithm may know of the metric and of the program's predictors, besides their state."""

import inspect
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.core.candidate import Candidate, Rollout
from dspex.program.module import Module
from dspex.program.types.tool import Tool
from dspex.program.types.tool_calls import ToolCalls
from dspex.program.values import leaves

PLAIN = MappingProxyType({"bool": bool, "int": int, "float": float})
GEPA_ARGUMENTS = 5


class MetricInfo(msgspec.Struct, frozen=True):
    """What is known of a metric before it has scored anything; None: it is not.

    A metric says it by attributes of these names, else by what it is annotated to return; one of five arguments gives
    feedback. `threshold` is the least score that passes, None for any above 0.
    """

    threshold: float | None = None
    binary: bool | None = None
    lower: float | None = None
    upper: float | None = None
    gives_feedback: bool | None = None

    def passes(self, rollout: Rollout) -> bool:
        """Whether a run is good enough to be a demonstration."""
        least = self.threshold
        return rollout.ok and (rollout.score > 0 if least is None else rollout.score >= least)


class PredictorInfo(msgspec.Struct, frozen=True):
    """A predictor of the program: its path, its signature, the fields (FieldView) with the inputs first.

    `is_tool` says that it chooses tools: its signature has such a type, or its module has `tools`.
    """

    name: str
    signature: Any
    fields: tuple[Any, ...]
    is_tool: bool = False


def metric_info(metric: Any, threshold: float | None) -> MetricInfo:
    """What a metric says of itself."""
    function = getattr(metric, "aforward", None) or getattr(metric, "forward", None) or metric
    signature = inspect.signature(function) if callable(function) else inspect.Signature()
    given = signature.return_annotation
    kind = PLAIN.get(given, given) if isinstance(given, str) else given
    found: dict[str, Any] = {"binary": True, "lower": 0.0, "upper": 1.0} if kind is bool else {}
    if len(signature.parameters) >= GEPA_ARGUMENTS:
        found["gives_feedback"] = True
    elif kind in PLAIN.values():
        found["gives_feedback"] = False
    said = {
        name: value for name in MetricInfo.__struct_fields__[1:] if (value := getattr(metric, name, None)) is not None
    }
    return MetricInfo(threshold, **found | said)


def predictor_infos(program: Module, candidate: Candidate) -> tuple[PredictorInfo, ...]:
    """The predictors of a candidate, in the program's order, under its instructions."""
    beside_tools = {
        id(child)
        for _, part in program.named_sub_modules()
        if getattr(part, "tools", None)
        for child in vars(part).values()
    }
    found = []
    for path, predictor in program.named_predictors():
        compiled = predictor.signature.compiled
        fields = (*compiled.inputs, *compiled.outputs)
        has_type = any(leaf in (Tool, ToolCalls) for field in fields for leaf in leaves(field.annotation))
        signature = predictor.signature.with_instructions(candidate.predictors[path].instructions)
        found.append(PredictorInfo(path, signature, fields, has_type or id(predictor) in beside_tools))
    return tuple(found)
