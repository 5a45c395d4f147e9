"""What an optimizer is handed, and all that it may do."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from dspex.core.candidate import Candidate, Failure, Rollout, Scores
from dspex.core.endpoint import Capabilities
from dspex.core.example import Example, Prediction
from dspex.core.finetune import FineTuneSpec, LMRef
from dspex.core.usage import Budget


class PhaseHandle(Protocol):
    """An open phase of a compile; progress only."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


class CompileContext(Protocol):
    """What an optimizer may do; every effect is keyed by content, journalled and executed once (`Optimizer.run`)."""

    student: Candidate
    teacher: Candidate | None  # the first of `teachers`
    teachers: Sequence[Candidate]
    train: Sequence[Example]
    val: Sequence[Example]
    capabilities: Mapping[str, Capabilities]
    arguments: Mapping[str, Any]
    metric: Any  # `threshold`, `passes(rollout)`; and None where unknown: `binary`, `lower`, `upper`, `gives_feedback`

    PROTOCOL_VERSION: ClassVar[int] = 1

    @property
    def predictors(self) -> Sequence[Any]:
        """The student's predictors in its order: `name` (its path), `signature`, `fields` (FieldViews), `is_tool`."""

    def key_of(self, example: Example) -> str:
        """The example's identity, as rollouts carry it."""

    async def evaluate(
        self,
        candidate: Candidate,
        examples: Sequence[Example],
        *,
        trace: bool = False,
        sample: int = 0,
        temperature: float | None = None,
        role: str = "task",
    ) -> Scores:
        """Run and score a candidate; failures are rollouts with `ok` False."""

    async def evaluate_all(self, pairs: Sequence[tuple[Candidate, Sequence[Example]]], **same: Any) -> list[Scores]:
        """One wave of evaluations, in the order asked for."""

    async def race(
        self,
        candidates: Sequence[Candidate],
        examples: Sequence[Example],
        *,
        z: float = 2.4,
        block: int | None = None,
        keep: int = 1,
    ) -> Any:
        """Evaluate block by block and drop what has clearly lost; `z=math.inf` drops nothing, in one wave."""

    async def collect(
        self,
        candidate: Candidate,
        examples: Sequence[Example],
        want: int,
        *,
        role: str = "teacher",
        rounds: int = 1,
        speculate: bool = True,
    ) -> list[Rollout]:
        """The first `want` passing rollouts in example order, with traces."""

    async def ask(
        self,
        signature: Any,
        *,
        role: str = "prompt",
        n: int = 1,
        sample: int = 0,
        temperature: float | None = None,
        **inputs: Any,
    ) -> list[Prediction | Failure]:
        """`n` answers of a role's model to a signature; one that fails or cannot be read is a `Failure`."""

    async def compute(self, label: str, function: Callable[..., Any], *args: Any, version: Any = "") -> Any:
        """What a pure function of JSON data gives, sync in a thread or async; `version`, a text or a function by whose code it
        goes, is part of its identity. What goes by the metric's code runs where the metric does, on the loop while it is fast.
        """

    async def finetune(self, spec: FineTuneSpec, *, lm: Any, usd: float | None = None) -> LMRef | Failure:
        """Train that model; the reference is for a candidate's `params["lm"]`."""

    async def check_finetune(self, lm: Any, *, usd: float | None = None, train_kwargs: Mapping[str, Any] = {}) -> None:
        """Raises ConfigurationError for a model that cannot be trained."""

    async def now(self) -> float:
        """Seconds of running time since the start; a replay is given the same."""

    async def compile(
        self,
        optimizer: Any,
        student: Candidate,
        *,
        label: str,
        train: Sequence[Example] | None = None,
        val: Sequence[Example] | None = None,
        teacher: Candidate | Sequence[Candidate] | None = None,
        meta: Mapping[str, Any] = {},
        **arguments: Any,
    ) -> Candidate:
        """What another optimizer makes of a candidate, in the same run, pool and budget. Raises EvaluationError if it fails."""

    async def gather(self, *awaitables: Awaitable[Any]) -> list[Any]:
        """Run branches side by side; the only way to do so."""

    def rng(self, label: str) -> Any:
        """A `random.Random` of its own for that label."""

    def consider(
        self, candidate: Candidate, label: str, parents: Sequence[Candidate] = (), meta: Mapping[str, Any] = {}
    ) -> Candidate:
        """Enter a candidate into the pool; scores attach to it by key."""

    def note(self, text: str) -> None:
        """Say something in the evidence."""

    def phase(self, name: str, total: int | None = None) -> PhaseHandle:
        """Name what is going on, for progress: `async with ctx.phase("proposals", total=8):` around it."""

    async def remaining(self) -> Budget:
        """What is left of the budget, once own steps in flight have settled."""

    def program(self, candidate: Candidate) -> Any:
        """A new program (a Module) with a candidate's state, not to be run."""

    def attach(self, **attributes: Any) -> None:
        """Attributes of the program that is returned, not saved with it."""
