"""What an optimizer works on, as data: candidate programs, their runs, and what a run may cost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from dspex.core.errors import ConfigurationError
from dspex.core.identity import digest
from dspex.core.nearest import did_you_mean
from dspex.core.usage import Usage


class Demo(msgspec.Struct, frozen=True):
    """A demonstration; `origin` is the key of the example it was made from, or "given"."""

    fields: dict[str, Any]
    augmented: bool = False
    origin: str = "given"


SELECTORS = ("nearest_demos", "demo_selector")  # a NearestDemos, or what else chooses among the demos at each call
OWN_PARAMS = frozenset({"choice_bias", "lm", *SELECTORS})  # of a predictor itself; the others are an optimizer's


class PredictorState(msgspec.Struct, frozen=True):
    """What an optimizer may change in one predictor; of `params` a predictor itself knows some.

    "choice_bias" is by field and label, "lm" names another model (`LMRef`), "nearest_demos" is the state of a `NearestDemos`, and
    "demo_selector" what tells another selector.
    """

    instructions: str
    demos: tuple[Demo, ...] = ()
    params: dict[str, Any] = {}


class Candidate(msgspec.Struct, frozen=True, dict=True):
    """A program as data: `structure` names its shape, `predictors` holds the state under DSPy's module paths."""

    structure: str
    predictors: dict[str, PredictorState]

    @cached_property
    def key(self) -> str:
        """Identity by content; where a demo came from does not matter."""
        return digest(
            {
                "structure": self.structure,
                "predictors": {
                    path: [state.instructions, [[demo.fields, demo.augmented] for demo in state.demos], state.params]
                    for path, state in self.predictors.items()
                },
            }
        )

    @cached_property
    def calls_key(self) -> str:
        """The same for candidates that ask their models alike: how large a bias is decides only what is read of the replies."""
        biased = {
            path: state.params["choice_bias"]
            for path, state in self.predictors.items()
            if "choice_bias" in state.params
        }
        if not biased or len(self.predictors) > 1:  # what another predictor is asked may depend on the choice
            return self.key
        return self.with_params({path: {"choice_bias": sorted(bias)} for path, bias in biased.items()}).key

    def with_demos(self, demos: Mapping[str, tuple[Demo, ...]], *, keep_selector: bool = False) -> "Candidate":
        """This candidate with the demos of the named predictors replaced, and all of them shown at each call.

        `keep_selector` lets what has chosen among the demos before choose among these. Raises ConfigurationError for a name that
        is none.
        """
        gone = () if keep_selector else SELECTORS

        def change(state: PredictorState, given: Sequence[Demo]) -> PredictorState:
            params = {name: value for name, value in state.params.items() if name not in gone}
            return msgspec.structs.replace(state, demos=tuple(given), params=params)

        return self._with(demos, change)

    def with_instructions(self, instructions: Mapping[str, str]) -> "Candidate":
        """This candidate with the instructions of the named predictors replaced. Raises as `with_demos`, and for what is no text."""
        given: Any = instructions
        if not isinstance(given, Mapping) or not all(isinstance(text, str) for text in given.values()):
            raise ConfigurationError(f"Instructions are texts by predictor, not {instructions!r:.80}.")
        return self._with(instructions, lambda state, text: msgspec.structs.replace(state, instructions=text))

    def with_params(self, params: Mapping[str, Mapping[str, Any]]) -> "Candidate":
        """This candidate with these params of the named predictors set, the others as they are. Raises as `with_demos`."""
        return self._with(params, lambda state, given: msgspec.structs.replace(state, params={**state.params, **given}))

    def _with(self, given: Mapping[str, Any], change: Callable[[PredictorState, Any], PredictorState]) -> "Candidate":
        unknown = next((path for path in given if path not in self.predictors), None)
        if unknown is not None:
            known = ", ".join(map(repr, self.predictors))
            hint = did_you_mean(str(unknown), self.predictors)
            raise ConfigurationError(f"{unknown!r} is no predictor of this program, which has {known}.{hint}")
        changed = {path: change(self.predictors[path], one) for path, one in given.items()}
        return Candidate(self.structure, {**self.predictors, **changed})


class Failure(msgspec.Struct, frozen=True):
    """What stands for an answer that a model did not give, or that could not be read; `kind` is the name of the error's class."""

    error: str
    kind: str = ""

    @classmethod
    def of(cls, error: str) -> "Failure":
        """Of a record's words, which begin with the class."""
        return cls(error, error.partition(":")[0] if ":" in error else "")


class TraceStep(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One predictor's call inside a program's run; `reply` is what could not be read and so ended the run.

    Of a call that ended so the inputs are the program's. `scores` are log-probabilities by output and choice, of those that the
    model weighed, where there is a `choice_bias`.
    """

    predictor: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    reply: str | None = None
    scores: dict[str, dict[str, float]] = {}


class Rollout(msgspec.Struct, frozen=True, gc=False):
    """One run of one candidate on one example; a failure is a value: `ok` False, the failure score and the error."""

    example: str
    candidate: str
    score: float
    ok: bool = True
    outputs: dict[str, Any] = {}
    feedback: str | None = None
    error: str | None = None
    usage: Usage = Usage()
    trace: tuple[TraceStep, ...] | None = None


class Scores(msgspec.Struct, frozen=True):
    """Rollouts of one candidate, in the order of the examples asked for."""

    rows: tuple[Rollout, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Rollout]:
        return iter(self.rows)

    @property
    def values(self) -> list[float]:
        """The scores."""
        return [row.score for row in self.rows]

    @property
    def mean(self) -> float:
        """Mean score, 0.0 when there are no rows."""
        return sum(self.values) / len(self.rows) if self.rows else 0.0

    @property
    def failures(self) -> list[Rollout]:
        """Rollouts whose program or metric raised."""
        return [row for row in self.rows if not row.ok]

    @property
    def usage(self) -> Usage:
        """Sum over all rows."""
        return sum((row.usage for row in self.rows), Usage())


class Range(msgspec.Struct, frozen=True):
    """Lower and upper bound of a number of calls."""

    low: int = 0
    high: int = 0


class Shape(msgspec.Struct, frozen=True):
    """What an estimate is made from: predictors and LM calls a run, sizes of the data, compile's own arguments, and teachers given."""

    predictors: int
    calls_per_run: int
    train: int
    val: int
    held: int = 0
    arguments: Mapping[str, Any] = {}
    teachers: int = 0

    @property
    def evidence_calls(self) -> int:
        """Calls for the look at the held examples, by the student and by what was found."""
        return 2 * self.held * self.calls_per_run


class Estimate(msgspec.Struct, frozen=True):
    """Bounds of program runs and calls by role, before anything has run; `usd` are dollars beside those of the calls."""

    task: Range = Range()
    prompt: Range = Range()
    teacher: Range = Range()
    reflection: Range = Range()
    metric: Range = Range()
    usd: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def high(self) -> int:
        """Upper bound over all roles but the metric."""
        return self.task.high + self.prompt.high + self.teacher.high + self.reflection.high
