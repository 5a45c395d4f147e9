"""Steps besides evaluations: a question to a model, and a computation."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dspex.core.candidate import Failure
from dspex.core.errors import AdapterParseError, ConfigurationError, LMError
from dspex.core.example import Prediction
from dspex.core.identity import canonical, digest, plain
from dspex.core.usage import Usage
from dspex.engine.artifact import fingerprint
from dspex.engine.recorder import StepRecorder
from dspex.engine.setup import Role
from dspex.engine.spend import Spend
from dspex.engine.steps import Asked, Computed, Steps, StepWork, key
from dspex.evaluate.running import Pace
from dspex.program.predict import Predict
from dspex.program.signature import signature_class
from dspex.runtime.scope import SCOPE
from dspex.runtime.worker_threads import in_thread

OPTIONS = frozenset({"role", "n", "sample", "temperature"})


def askable(signature: Any) -> Any:
    """The signature of a question. Raises ConfigurationError where an input has the name of an option of `ctx.ask`."""
    made = signature_class(signature)
    if taken := sorted(OPTIONS.intersection(made.input_fields)):
        raise ConfigurationError(
            f"ctx.ask: the input {taken[0]!r} of {made.signature!r} has the name of an option of ask, which would get its value. "
            "Give the field another name."
        )
    return made


class Asking(StepWork):
    """A question to the model of a role, in the form of a signature, for `n` answers."""

    kind = "ask"
    type = Asked
    __slots__ = ("_inputs", "_n", "_params", "_role", "_signature", "_steps")

    def __init__(
        self, steps: Steps, bound: Spend, role: tuple[str, Role], signature: Any, *, inputs: Mapping[str, Any], n: int,
        params: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self._signature = signature_class(signature)
        name, self._role = role
        compiled = self._signature.compiled
        sides = [
            [[f.name, f.type_text, f.desc, f.prefix] for f in side] for side in (compiled.inputs, compiled.outputs)
        ]
        asked = [self._signature.instructions, sides, dict(inputs), n, dict(params)]
        step = key("ask", self._role.identity, digest(asked))
        super().__init__(step, bound, step, name)
        self._inputs = dict(inputs)
        self._params = dict(params)
        self._n = n
        self._steps = steps

    async def make(self, recorder: StepRecorder) -> Asked:
        """The answers."""
        scope = SCOPE.get()
        settings = self._role.over(scope.overlay, self._params)
        SCOPE.set(scope.child(overlay=settings, trace=None, recorder=recorder))
        ask = Predict(self._signature)
        ask.update_config(**({"n": self._n} if self._n > 1 else {}))
        prediction = await ask.acall(**self._inputs)
        rows = list(prediction.completions) if self._n > 1 else [prediction]
        return Asked(tuple(plain(dict(row.items())) for row in rows), usage=recorder.usage)

    def failed(self, error: BaseException, usage: Usage) -> Asked | None:
        """An answer that cannot be read and a model that cannot answer are results; anything else is a slip."""
        if not isinstance(error, LMError | AdapterParseError):
            return None
        self._steps.count_failure(error)
        text = f"{type(error).__name__}: {error}"[:1_000].encode(errors="replace").decode()
        return Asked((), False, text, usage)

    def settled(self, value: Asked) -> None:
        """What was asked of a role, and what was not answered, is told in the evidence."""
        self._steps.questions[self.role] += 1
        if not value.ok:
            self._steps.unanswered.setdefault(self.role, []).append(value.error)

    def ended(self, value: Asked, fault: BaseException | None) -> None:
        """Whether there still is a model to ask."""
        self._steps.check_outage(value.ok, value.error)

    def read(self, value: Asked) -> list[Prediction | Failure]:
        """Typed answers, or as many failures."""
        if not value.ok:
            return [Failure.of(value.error)] * self._n
        fields = {field.name: field for field in self._signature.compiled.outputs}
        return [
            Prediction({name: fields[name].convert(one) if name in fields else one for name, one in row.items()})
            for row in value.outputs
        ]


class Computing(StepWork):
    """A function of data, sync in a thread of its own, or async; it may call embedders and models.

    With a `pace` it runs on the loop as long as that allows it.
    """

    kind = "compute"
    type = Computed
    __slots__ = ("_call", "_label", "_pace")

    def __init__(
        self, bound: Spend, label: str, function: Callable[..., Any], args: tuple[Any, ...], version: Any, *,
        pace: Pace | None = None,
    ) -> None:  # fmt: skip
        try:
            made_by = version if isinstance(version, str) else digest(fingerprint(version))
            step = key("compute", label, made_by, digest(plain(list(args))))
        except (TypeError, ConfigurationError) as error:
            raise ConfigurationError(
                f"ctx.compute({label!r}, ...): its arguments are its identity, so they must be JSON data: {error}. Bind "
                "other things into the function, and name them in version=."
            ) from error
        super().__init__(step, bound, step, "compute")
        self._call = partial(function, *args)
        self._label = label
        self._pace = pace

    async def make(self, recorder: StepRecorder) -> Computed:
        """What the function gives. Raises ConfigurationError for what is no JSON data."""
        SCOPE.set(SCOPE.get().child(trace=None, recorder=recorder))
        if inspect.iscoroutinefunction(self._call.func):
            value = await self._call()
        elif self._pace is not None and self._pace.is_fast:
            value = self._pace.here(self._call)
        else:
            value = await in_thread(self._call)
        return Computed(self._data(value), recorder.usage)

    def _data(self, value: Any) -> Any:
        try:
            made = plain(value)
            canonical(made)  # NaN is no JSON: a replay would be given None
        except (TypeError, ConfigurationError) as error:
            raise ConfigurationError(
                f"ctx.compute({self._label!r}, ...) gave {value!r:.80}, which is no JSON data: {error}. It is kept in the journal, so "
                "return numbers, texts, lists and dictionaries."
            ) from error
        return made
