"""Refine: several attempts, each with a hint to every predictor on what the one before did wrong."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from dspex.app.app import current_app
from dspex.core.errors import AdapterParseError, LMError
from dspex.core.example import Example
from dspex.core.identity import plain
from dspex.program.attempts import Attempt, Attempts, Reward, Trace, attempts_recipe, checked, held
from dspex.program.fields import InputField, OutputField
from dspex.program.module import Module
from dspex.program.predict import Predict
from dspex.program.signature import Signature
from dspex.program.values import render
from dspex.runtime.scope import use

HINT = "hint_"
NO_HINT = "(none)"
_NOTHING = frozenset({"", "n/a", "na", "none", "(none)"})
_SHOWN = 4_000  # characters of one value that the adviser is shown


class Refine(Module):
    """As `BestOfN`, and after an attempt below the threshold a model is asked what each predictor should do otherwise.

    That advice is the next attempt's input `hint_`, of those predictors that it concerns. The adviser is the settings' LM,
    else the module's; it is shown signatures, the attempt's calls, the reward and the docstring of `reward_fn`, and no
    source. Where it gives no advice the next attempt is made with what was said before.
    """

    def __init__(
        self,
        module: Module,
        N: int,  # noqa: N803  DSPy's name
        reward_fn: Reward,
        threshold: float | None,
        fail_count: int | None = None,
        *,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(callbacks)
        self.fail_count = checked(module, N, fail_count)
        self.module = module
        self.N = N
        self.reward_fn = held(reward_fn)
        self.threshold = threshold

    async def aforward(self, **kwargs: Any) -> Any:
        """The best prediction."""
        attempts = Attempts(kwargs, self.reward_fn, self.fail_count)
        hints: dict[str, str] = {}
        for number in range(self.N):
            hinted = _Hinted(self.module, hints) if hints else None
            attempt = await (
                attempts.run(self.module, number)
                if hinted is None
                else attempts.run(hinted.program, number, hinted.restored)
            )
            if attempt is None:
                continue
            reached = self.threshold is not None and attempt.reward >= self.threshold
            if reached or number == self.N - 1:
                break
            hints = await self._advice(kwargs, attempt) or hints
        return await attempts.result()

    async def _advice(self, inputs: Mapping[str, Any], attempt: Attempt) -> dict[str, str]:
        """What to tell each predictor, by path; nothing where no advice is to be had."""
        parts = self.module.named_predictors()
        paths = {id(part): path for path, part in parts}
        calls = [
            {"predictor": paths.get(id(part), "?"), "inputs": _shown(given), "outputs": _shown(made)}
            for part, given, made in attempt.trace
        ]
        lm = current_app().settings.lm or next((part.lm for _, part in parts if part.lm is not None), None)
        reward_doc = getattr(getattr(self.reward_fn, "func", self.reward_fn), "__doc__", None) or ""
        try:
            with use(trace=None, listener=None):
                said: Any = await Predict(_advising()).acall(
                    lm=lm,
                    predictors=[_described(path, part) for path, part in parts],
                    program_inputs=_shown(inputs),
                    calls=calls,
                    program_outputs=_shown(attempt.prediction),
                    reward_description=reward_doc.strip(),
                    reward_value=attempt.reward,
                    target_threshold=self.threshold,
                )
        except (AdapterParseError, LMError):
            return {}
        return {path: text for path, text in said.advice.items() if text.strip().casefold() not in _NOTHING}

    def _recipe(self) -> dict[str, Any]:
        return attempts_recipe(self)

    def _traits(self) -> Mapping[str, Any]:
        names = ("N", "threshold", "fail_count", "reward_fn")
        return {name: getattr(self, name) for name in names}


class _Hinted:
    """A copy of a module whose predictors are given hints, and the way back from its trace to the module's own."""

    def __init__(self, module: Module, hints: Mapping[str, str]) -> None:
        self.program = module.deepcopy()
        self._own = {}
        copies = dict(self.program.named_predictors())
        for path, predictor in module.named_predictors():
            self._own[id(copies[path])] = predictor
            if path in hints:
                _give(copies[path], hints[path])

    def restored(self, trace: Trace) -> Trace:
        """The calls as the module itself would have made them."""
        return [
            (self._own.get(id(part), part), {name: value for name, value in given.items() if name != HINT}, made)
            for part, given, made in trace
        ]


def _give(predictor: Any, hint: str) -> None:
    signature = predictor.signature
    if HINT in signature.fields:  # that of a Refine around this one
        signature = signature.with_updated_fields(HINT, default=f"{signature.fields[HINT].absent()}\n{hint}")
    else:
        field = InputField(default=hint, desc="what an earlier attempt did wrong, and what to do otherwise")
        signature = signature.append(HINT, field, str)
    predictor.signature = signature
    # A demo that lacks an input would be shown as one that is cut.
    predictor.demos = [Example({HINT: NO_HINT, **dict(demo.items())}) for demo in predictor.demos]


@cache
def _advising() -> type[Signature]:
    fields = {
        "predictors": (list[dict[str, Any]], InputField(desc="the parts of the program, by name")),
        "program_inputs": (dict[str, Any], InputField()),
        "calls": (list[dict[str, Any]], InputField(desc="what each part was given and made, in order")),
        "program_outputs": (Any, InputField()),
        "reward_description": (str, InputField(desc="what the outputs are rewarded for, as far as it is known")),
        "reward_value": (float, InputField()),
        "target_threshold": (Any, InputField(desc="the reward to be reached; null: as high as can be")),
        "discussion": (str, OutputField(desc="which part is to blame for the reward, and why")),
        "advice": (dict[str, str], OutputField(desc="for each part's name what to do otherwise; N/A if it did well")),
    }
    return Signature(
        fields,
        "A program of several parts was run and its outputs got too low a reward. Find out which part went wrong, and "
        "tell each such part in a few concrete sentences what to do in its next run on these inputs. A part does not see "
        "this run again, so your advice must say all that it needs.",
        "Advise",
    )


def _described(path: str, predictor: Any) -> dict[str, Any]:
    signature = predictor.signature
    return {"name": path, "fields": signature.signature, "task": signature.instructions}


def _shown(values: Any) -> Any:
    """Values as data, long texts cut: what has no form in JSON is told by its repr."""
    if isinstance(values, Mapping) or hasattr(values, "keys"):
        return {name: _shown(value) for name, value in dict(values.items()).items()}
    try:
        text = render(plain(values))
    except (TypeError, ValueError):
        text = repr(values)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ... ({len(text) - _SHOWN} more characters)"
