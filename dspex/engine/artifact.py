"""Programs made of candidates."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from dspex.app.lm import LM
from dspex.core.candidate import Candidate, Demo
from dspex.core.errors import ConfigurationError
from dspex.core.example import Example
from dspex.core.finetune import LMRef
from dspex.program.fields import FieldInfo
from dspex.program.fingerprint import demos_of, example_key, extracted, fingerprint, structure_of
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
        for path, predictor in program.named_predictors():
            state = candidate.predictors[path]
            if predictor.signature.instructions != state.instructions:
                predictor.signature = predictor.signature.with_instructions(state.instructions)
            if "lm" in state.params:
                predictor.lm = self._referred(predictor.lm, state.params["lm"])
            if "choice_bias" in state.params:
                predictor.choice_bias = state.params["choice_bias"]
            if state.demos != demos_of(predictor):  # else they stay what they are, and need not be JSON
                fields = predictor.signature.compiled.fields
                predictor.demos = [_shown(demo, fields) for demo in state.demos]
        for finish in self._finish:
            finish(program, candidate)
        return program

    def _referred(self, own: LM | None, reference: LMRef) -> LM:
        """The model of that name, where and with whose key the one before it is."""
        before, name = own or self._lm, reference["model"]
        if before is None or _provider(before.model) != _provider(name):
            return LM(name)  # another provider's key is none of its business
        return before.copy(model=name)


def _shown(demo: Demo, fields: Mapping[str, FieldInfo]) -> Example:
    typed = {name: fields[name].typed(value) if name in fields else value for name, value in demo.fields.items()}
    return Example({"augmented": True, **typed} if demo.augmented else typed)


def _provider(model: str) -> str:
    """Empty for an object of the user's."""
    return model.partition("/")[0] if "/" in model else ""
