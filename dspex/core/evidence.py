"""What a comparison found and what a compile may claim, as data that is saved with a program."""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

Verdict = Literal["better", "worse", "not shown"]
# What a compile returns: what is better by the corrected estimate, only what is shown to be, or what was chosen.
Keep = Literal["estimate", "better", "best"]


class Comparison(msgspec.Struct, frozen=True):
    """What n examples say about the gain of one program over another.

    `q` is the mean squared gain, for 0/1 scores the share of examples that changed, and only they have `p_exact`. With
    80 % power the gain seen would be shown by `examples_needed`, and by this n the `smallest_gain`.
    """

    n: int
    delta: float
    low: float
    high: float
    p: float
    p_exact: float | None
    test: str
    verdict: Verdict
    q: float
    wins: int
    losses: int
    examples_needed: int | None
    smallest_gain: float | None
    basis: str

    @property
    def examples_missing(self) -> int | None:
        """How many more examples would show the gain seen, with 80 % power; None if no number would, 0 for enough."""
        return None if self.examples_needed is None else max(0, self.examples_needed - self.n)

    def __str__(self) -> str:
        seen = f"{100 * self.delta:+.1f} points [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"
        proof = f"{self.test} p={self.p:.3g}, {self.wins} won, {self.losses} lost, n={self.n}, {self.basis}"
        if self.verdict != "not shown":
            return f"{self.verdict}: {seen} ({proof})"
        more = f"; a gain of this size needs {self.examples_needed:,} examples" if self.examples_needed else ""
        more += f", {self.examples_missing:,} more" if self.examples_missing else ""
        least = f"; {self.n:,} could show {100 * self.smallest_gain:.0f} points" if self.smallest_gain else ""
        return f"not shown (no real gain shown): {seen} ({proof}){more}{least}"


class Corrected(msgspec.Struct, frozen=True):
    """Scores of a search without the luck of its choice: the winner's, the baseline's and the gain."""

    score: float
    baseline: float
    gain: float


class Arm(msgspec.Struct, frozen=True):
    """A control and its mean score; `comparison` is the winner's gain over it on the validation examples."""

    name: str
    score: float
    comparison: Comparison

    def __str__(self) -> str:
        gain, low, high = (100 * one for one in (self.comparison.delta, self.comparison.low, self.comparison.high))
        worth = "is worth" if self.comparison.delta > 0 else "is not worth more:"
        return f"what was found {worth} {gain:+.1f} [{low:+.1f}, {high:+.1f}] points over {self.name}"


class Evidence(msgspec.Struct, frozen=True):
    """What a compile can claim; no figure in it depends on timing. Printed, it is a table.

    `basis` names the examples of the comparison, best first: "held" apart from the search, "untouched" by any step,
    "selection, max-T" corrected for the choice, "none". `score` and `baseline` are means on them. `kept` says whether the
    program returned is the one found or the student. `usage` has calls, tokens and dollars by role, as budgeted.
    `controls` are programs that should be worse, where they were asked for. `costs` are mean tokens, and dollars where the
    price is known, of a run of the student and of the program found, on the validation examples.
    """

    verdict: str
    basis: str
    kept: bool
    stopped: str
    n: int = 0
    baseline: float | None = None
    score: float | None = None
    comparison: Comparison | None = None
    corrected: Corrected | None = None
    candidates: int = 0
    optimizer: str = ""
    seed: int = 0
    usage: Mapping[str, Mapping[str, int | float]] = {}
    notes: tuple[str, ...] = ()
    controls: tuple[Arm, ...] = ()
    versions: Mapping[str, str] = {}
    costs: Mapping[str, tuple[float, float]] = {}

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the true gain lies, in score points, at 95 %."""
        return (self.comparison.low, self.comparison.high) if self.comparison is not None else None

    @property
    def calls(self) -> int:
        """Calls of all roles, as budgeted."""
        return int(self._total("calls"))

    @property
    def tokens(self) -> int:
        """Tokens of all roles, as budgeted."""
        return int(self._total("tokens"))

    @property
    def usd(self) -> float:
        """Dollars of all roles, as budgeted."""
        return self._total("usd")

    def _total(self, unit: str) -> float:
        return sum(one.get(unit, 0) for one in self.usage.values())

    @property
    def headline(self) -> str:
        """The verdict and what it rests on, in one line."""
        if self.comparison is None:
            return f"No gain can be claimed: {'; '.join(self.notes) or 'nothing was compared'}."
        shown = f"{100 * (self.baseline or 0):.1f} -> {100 * (self.score or 0):.1f}" if self.score is not None else ""
        return f"{shown} {self.comparison}".strip()

    def rows(self) -> Iterator[tuple[str, str]]:
        """Name and text of all there is to say."""
        yield "verdict", f"{self.verdict}, {self.basis}" + (f", n={self.n}" if self.n else "")
        if self.baseline is not None and self.score is not None:
            yield "score", f"{100 * self.baseline:.1f} before, {100 * self.score:.1f} after, per cent"
        if self.interval is not None:
            low, high = self.interval
            yield "gain", f"between {100 * low:+.1f} and {100 * high:+.1f} points, at 95 %"
        if self.corrected is not None:
            luck = f"{100 * self.corrected.baseline:.1f} before, {100 * self.corrected.score:.1f} after"
            yield "without the luck of the choice", luck
        yield "returned", "the program found" if self.kept else "the program as it was given"
        yield "search", f"{self.optimizer}, {self.candidates:,} candidates, seed {self.seed}, {self.stopped}"
        for role, used in [
            *self.usage.items(),
            ("total", {"calls": self.calls, "tokens": self.tokens, "usd": self.usd}),
        ]:
            usd = f", {used.get('usd', 0):.4f} USD" if self.usd else ""
            yield f"cost, {role}", f"{used.get('calls', 0):,} calls, {used.get('tokens', 0):,} tokens{usd}"
        for unit, (before, after) in self.costs.items():
            yield f"1,000 runs, {unit}", f"{1_000 * before:,.4g} before, {1_000 * after:,.4g} after"
        yield from (("control", str(arm)) for arm in self.controls)
        yield from (("note", note) for note in self.notes)
        yield "versions", ", ".join(f"{name} {version}" for name, version in self.versions.items())

    def __str__(self) -> str:
        rows = [(name, text) for name, text in self.rows() if text]
        width = max(len(name) for name, _ in rows)
        return "\n".join([self.headline, *(f"  {name:{width}}  {text}" for name, text in rows)])
