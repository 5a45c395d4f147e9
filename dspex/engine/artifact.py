"""Programs made of candidates."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dspex.app.lm import LM
from dspex.core.candidate import SELECTORS, Candidate, Demo, PredictorState
from dspex.core.errors import ConfigurationError
from dspex.core.example import Example
from dspex.core.finetune import LMRef
from dspex.core.identity import canonical
from dspex.program.demo_selection import DemoSelector, nearest_again
from dspex.program.fields import FieldInfo
from dspex.program.fingerprint import (
    demos_of,
    example_key,
    extracted,
    fingerprint,
    selector_params,
    structure_of,
)
from dspex.program.module import Module

__all__ = ["Programs", "example_key", "extracted", "fingerprint", "structure_of"]

KEPT_PROGRAMS = 64


class Programs:
    """Makes programs of candidates: copies of the student or the teacher with another state, the last ones kept.

    `finish` is an optimizer's: it gives a program what the `params` of its candidate stand for. `lm` is the model of predictors
    that have none of their own.
    """

    def __init__(self, *prototypes: Module, finish: Callable[[Module, Candidate], None], lm: LM | None = None) -> None:
        self._prototypes = {structure_of(program): program for program in prototypes}
        self._choosing = {canonical(told): part for one in prototypes for told, part in _choosing(one)}
        self._finish = [finish]
        self._lm = lm
        self._made: OrderedDict[str, tuple[Module, dict[int, str]]] = OrderedDict()

    def also(self, finish: Callable[[Module, Candidate], None]) -> None:
        """Let another optimizer, inside the run, give programs what its params stand for."""
        if finish not in self._finish:
            self._finish.append(finish)

    def runnable(self, candidate: Candidate) -> tuple[Module, dict[int, str]]:
        """A shared program to run, and the paths of its predictors by `id`."""
        made = self._made.get(candidate.key)
        if made is None:
            program = self.fresh(candidate)
            made = (program, {id(part): path for path, part in program.named_predictors()})
            self._made[candidate.key] = made
            if len(self._made) > KEPT_PROGRAMS:
                self._made.popitem(last=False)
        self._made.move_to_end(candidate.key)
        return made

    def fresh(self, candidate: Candidate) -> Module:
        """A new program with this state. Raises ConfigurationError for a structure that is not of this run."""
        prototype = self._prototypes.get(candidate.structure)
        if prototype is None:
            raise ConfigurationError(
                "This candidate belongs to another program: make it from ctx.student or ctx.teacher."
            )
        program = prototype.deepcopy()
        parts = program.named_predictors()
        for path, predictor in parts:
            self._give(predictor, candidate.predictors[path])
        for finish in self._finish:
            finish(program, candidate)
        for path, predictor in parts:
            if predictor.demo_selector is None and _selector_in(candidate.predictors[path].params):
                raise ConfigurationError(f"What chooses the demos of {path!r} is a function that is not of this run.")
        return program

    def _give(self, predictor: Any, state: PredictorState) -> None:
        if predictor.signature.instructions != state.instructions:
            predictor.signature = predictor.signature.with_instructions(state.instructions)
        if "lm" in state.params:
            predictor.lm = self._referred(predictor.lm, state.params["lm"])
        predictor.choice_bias = state.params.get("choice_bias")
        predictor.demo_selector = self._selector(state.params)
        if state.demos != demos_of(predictor):  # else they stay what they are, and need not be JSON
            fields = predictor.signature.compiled.fields
            predictor.demos = [_shown(demo, fields) for demo in state.demos]

    def _selector(self, params: Mapping[str, Any]) -> DemoSelector | None:
        """The selector that a state names: that of a program of this run, else one made anew; None where `finish` has it."""
        told = _selector_in(params)
        known = self._choosing.get(canonical(told)) if told else None
        if known is not None:
            return known.deepcopy().demo_selector  # type: ignore[no-any-return]  # a predictor's
        return nearest_again(told.get("nearest_demos"))

    def _referred(self, own: LM | None, reference: LMRef) -> LM:
        """The model of that name, where and with whose key the one before it is."""
        before, name = own or self._lm, reference["model"]
        if before is None or _provider(before.model) != _provider(name):
            return LM(name)  # another provider's key is none of its business
        return before.copy(model=name)


def _shown(demo: Demo, fields: Mapping[str, FieldInfo]) -> Example:
    typed = {name: fields[name].typed(value) if name in fields else value for name, value in demo.fields.items()}
    return Example({"augmented": True, **typed} if demo.augmented else typed)


def _choosing(program: Module) -> Iterator[tuple[dict[str, Any], Any]]:
    """What chooses among demos, as candidates tell it, with the predictor that has it."""
    for _, predictor in program.named_predictors():
        if told := selector_params(predictor):
            yield told, predictor


def _selector_in(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in SELECTORS if name in params}


def _provider(model: str) -> str:
    """Empty for an object of the user's."""
    return model.partition("/")[0] if "/" in model else ""
