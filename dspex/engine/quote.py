"""What a compile may cost at most, said before it begins."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.core.candidate import Estimate, Range
from dspex.core.errors import BudgetExceeded, ConfigurationError
from dspex.core.example import Example
from dspex.core.messages import Message
from dspex.core.usage import Budget
from dspex.engine.setup import Setup
from dspex.program.module import Module
from dspex.runtime.scope import current, use
from dspex.service.ledger import DEFAULT_OUTPUT_TOKENS, Charge

ROLES = ("task", "teacher", "prompt", "reflection")
UNITS = ("calls", "tokens", "usd")


class Quote(msgspec.Struct, frozen=True):
    """Upper bounds: calls by role from the optimizer's estimate, tokens and dollars from its longest prompts.

    A prompt is formatted with the longest example and as many demonstrations as the optimizer may put there; a reply is taken
    as long as max_tokens, else as the model's limit. `tokens` is None where no model is set, `usd` None for an unknown price.
    """

    calls: int
    tokens: int | None
    usd: float | None
    by_role: Mapping[str, int] = {}

    def __str__(self) -> str:
        parts = [
            f"{self.calls:,} calls ({', '.join(f'{n:,} {role}' for role, n in self.by_role.items() if n) or 'none'})"
        ]
        if self.tokens is not None:
            parts.append(f"{self.tokens:,} tokens")
        if self.usd is not None:
            parts.append(f"{self.usd:.2f} USD")
        return f"at most {', '.join(parts)}"


def quoted(setup: Setup, student: Module, teachers: Sequence[Module], needs_price: bool) -> Quote:
    """What a run may cost. Raises ConfigurationError if a price is needed and unknown, or `estimate` gives no Estimate."""
    estimate, shape = setup.optimizer.estimate(setup.shape), setup.shape
    if not isinstance(estimate, Estimate) or not all(isinstance(getattr(estimate, role), Range) for role in ROLES):
        name = type(setup.optimizer).__name__
        raise ConfigurationError(
            f"{name}.estimate gave {estimate!r:.80}: it has to give an Estimate, with a Range by role."
        )
    roles = {role: getattr(estimate, role).high for role in ROLES}
    scored = setup.warm.programs if setup.metric is not None else ()
    roles["task"] += len(scored) * shape.val * shape.calls_per_run
    roles["evidence"] = shape.evidence_calls
    roles["control"] = 3 * shape.val * shape.calls_per_run if setup.controls else 0
    tokens: int | None = 0
    usd = estimate.usd
    is_priced = usd > 0
    for role, calls in roles.items():
        if not calls:
            continue
        is_asked = role in ("prompt", "reflection")
        programs = (teachers or [student]) if role == "teacher" else [student]
        one = _of_text(setup, role, needs_price) if is_asked else _of_programs(setup, role, programs, needs_price)
        if one is None:
            tokens = None
            continue
        tokens = None if tokens is None else tokens + calls * one.tokens
        usd, is_priced = usd + calls * one.usd, is_priced or one.usd > 0
    return Quote(sum(roles.values()), tokens, usd if is_priced else None, roles)


def bounds_of(setup: Setup, student: Module, teachers: Sequence[Module]) -> dict[tuple[str, str], Charge]:
    """The most that one call of a run or a question may take, by role; none where no model is set."""
    found: dict[tuple[str, str], Charge | None] = {}
    for role in setup.roles:
        programs = (teachers or [student]) if role == "teacher" else [student]
        found["run", role] = _of_programs(setup, role, programs, needs_price=False)
        found["ask", role] = _of_text(setup, role, needs_price=False)
    return {name: charge for name, charge in found.items() if charge is not None}


def check(quote: Quote, budget: Budget, name: str) -> None:
    """Raises BudgetExceeded if the most that may be needed does not fit."""
    for unit in UNITS:
        need, limit = getattr(quote, unit), getattr(budget, unit)
        if need is None or limit is None or need <= limit:
            continue
        raise BudgetExceeded(
            f"{name} may take {quote}; the budget has {limit:,} {unit}. Raise it, ask for less, or pass "
            'Budget(..., on_short="stop") to stop at the wall with the best program so far.',
            unit=unit,
            limit=limit,
        )


def _of_programs(setup: Setup, role: str, programs: Sequence[Module], needs_price: bool) -> Charge | None:
    """The most that one call of their dearest predictor may take."""
    with use(overlay=setup.roles[role].over(current().overlay)):
        charges = [_of_predictor(setup, part, needs_price) for one in programs for part in one.predictors()]
    known = [charge for charge in charges if charge is not None]
    return _most(known) if known and len(known) == len(charges) else None


def _of_predictor(setup: Setup, part: Any, needs_price: bool) -> Charge | None:
    lm = part.lm or current_app().settings.lm
    if lm is None:
        return None
    compiled = part.signature.compiled
    longest = max(chain_of(setup), key=lambda example: len(str(example._store)))
    fields = {name: value for name, value in longest._store.items() if name in compiled.fields}
    inputs = {field.name: fields.get(field.name, "") for field in compiled.inputs}
    demos: Sequence[Any] = [*part.demos, *[fields] * _most_demos(setup.optimizer)]
    try:
        rendered = part.adapter_choice(lm).adapter.render(compiled, demos, inputs)
    except ConfigurationError:
        raise
    except Exception:  # noqa: BLE001  inputs made by another predictor may be of a type that text is no value of
        text = f"{part.signature.instructions} {longest._store}" * (1 + len(demos))
        rendered = (Message.of("user", text),)
    return _of_request(lm, rendered, part.config, needs_price)


def _of_text(setup: Setup, role: str, needs_price: bool) -> Charge | None:
    """A question of the optimizer's own, whose prompt is not known yet: taken to be as long as a long reply."""
    lm = setup.roles[role].overlay.get("lm", current_app().settings.lm) if role in setup.roles else None
    if lm is None:
        return None
    return _of_request(lm, (Message.of("user", "abc" * DEFAULT_OUTPUT_TOKENS),), {}, needs_price)


def _of_request(lm: Any, messages: tuple[Any, ...], params: Mapping[str, Any], needs_price: bool) -> Charge:
    single = {name: value for name, value in params.items() if name != "n"}
    return _most([one.service.bound(one.request(messages, single), needs_price) for one in getattr(lm, "lms", [lm])])


def _most(charges: Sequence[Charge]) -> Charge:
    return Charge(1, max(one.tokens for one in charges), max(one.usd for one in charges))


def _most_demos(optimizer: Any) -> int:
    """As DSPy's arguments say it; what each predictor's prompt may have."""
    counts = [getattr(optimizer, name, 0) for name in ("max_bootstrapped_demos", "max_labeled_demos", "k")]
    return sum(count for count in counts if isinstance(count, int))


def chain_of(setup: Setup) -> Iterator[Example]:
    """All examples of a run."""
    yield from setup.train
    yield from setup.val
    yield from setup.held
