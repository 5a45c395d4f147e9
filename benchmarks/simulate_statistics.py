"""The figures of docs/statistics.md, simulated: what each way of deciding shows when there is nothing, and when there is.

    python benchmarks/simulate_statistics.py [--runs 1000] [--only intervals fixed graded looks stops search]

Two programs with 0/1 scores: a share q of examples changes, and `gain` is the true mean gain. Rates are in per cent; with
1,000 runs the standard error of a rate of 5 is 0.7.
"""

import argparse
import math
import random
from collections.abc import Callable
from statistics import NormalDist

from dspex.evaluate.sequential import Wealth
from dspex.evaluate.statistics import max_t, mcnemar_midp, sign_flip, tango, verdict, wilson

ALPHA = 0.05


def gain_of(rng: random.Random, q: float, gain: float = 0.0) -> int:
    """One example's gain."""
    draw = rng.random()
    return 1 if draw < (q + gain) / 2 else -1 if draw < q else 0


def counts(rng: random.Random, n: int, q: float, gain: float = 0.0) -> tuple[int, int]:
    """Wins and losses of n examples."""
    gains = [gain_of(rng, q, gain) for _ in range(n)]
    return gains.count(1), gains.count(-1)


def coverage(runs: int, n: int, share: float) -> tuple[float, float]:
    """How often the textbook interval and Wilson's hold the true share."""
    rng, z, held = random.Random(n), NormalDist().inv_cdf(0.975), [0, 0]
    for _ in range(runs):
        seen = sum(rng.random() < share for _ in range(n)) / n
        half = z * math.sqrt(seen * (1 - seen) / n)
        low, high = wilson(seen * n, n)
        held[0] += seen - half <= share <= seen + half
        held[1] += low <= share <= high
    return 100 * held[0] / runs, 100 * held[1] / runs


def shown_at_fixed_n(runs: int, n: int, q: float, gain: float = 0.0) -> tuple[float, float]:
    """How often "better" is said by mid-p, and how often Tango's interval holds the true gain."""
    rng, better, held = random.Random(n), 0, 0
    for _ in range(runs):
        wins, losses = counts(rng, n, q, gain)
        better += wins > losses and mcnemar_midp(wins, losses) <= ALPHA
        low, high = tango(wins, losses, n)
        held += low <= gain <= high
    return 100 * better / runs, 100 * held / runs


def shown_by_looking(runs: int, n: int, q: float, every: int) -> tuple[float, float]:
    """How often equal programs are told apart by one who looks: at mid-p, and at the bets."""
    rng, by_test, by_bets = random.Random(n), 0, 0
    for _ in range(runs):
        gains = [gain_of(rng, q) for _ in range(n)]
        wins = losses = 0
        wealth, tested, won = Wealth(), False, False
        for count, gain in enumerate(gains, 1):
            wins, losses = wins + (gain > 0), losses + (gain < 0)
            wealth.add(gain)
            if count % every == 0:
                tested |= mcnemar_midp(wins, losses) <= ALPHA
                won |= max(wealth.sides) >= 2 / ALPHA
        by_test, by_bets = by_test + tested, by_bets + won
    return 100 * by_test / runs, 100 * by_bets / runs


def stops(runs: int, cap: int, q: float, gain: float) -> tuple[float, float]:
    """Mean examples until the bets show a real gain, and how often they do before the cap."""
    rng, total, found = random.Random(cap), 0, 0
    for _ in range(runs):
        wealth, count = Wealth(), 0
        while count < cap and max(wealth.sides) < 2 / ALPHA:
            count += 1
            wealth.add(gain_of(rng, q, gain))
        total, found = total + count, found + (wealth.sides[0] >= 2 / ALPHA)
    return total / runs, 100 * found / runs


def search(runs: int, candidates: int, n: int) -> tuple[float, float, float]:
    """The best of equal programs on the examples that chose it: its luck in points, and "better" by mid-p and by max-T."""
    rng, luck, naive, corrected = random.Random(candidates), 0.0, 0, 0
    for _ in range(runs):
        base, *others = [[rng.random() < 0.6 for _ in range(n)] for _ in range(candidates + 1)]
        gains = [[float(new - old) for new, old in zip(row, base, strict=True)] for row in others]
        winner = max(gains, key=sum)
        luck += 100 * (max(map(sum, others)) / n - 0.6)
        wins, losses = winner.count(1.0), winner.count(-1.0)
        if wins > losses and mcnemar_midp(wins, losses) <= ALPHA:
            naive += 1
            corrected += max_t(gains, rng) <= ALPHA / 2
    return luck / runs, 100 * naive / runs, 100 * corrected / runs


def show_intervals(runs: int) -> None:
    print("\nintervals: how often 95 % holds the true share           textbook   Wilson")
    for n, share in ((20, 0.95), (20, 0.7), (50, 0.9), (200, 0.9)):
        plain, good = coverage(runs, n, share)
        print(f"  n={n:<4} share {share:.2f} {plain:44.1f} {good:8.1f}")


def show_fixed(runs: int) -> None:
    print('\nfixed n: equal programs called "better" (nominal 2.5), and how often Tango\'s interval holds')
    for n, q in ((20, 0.3), (50, 0.3), (100, 0.1), (200, 0.3)):
        better, held = shown_at_fixed_n(runs, n, q)
        print(f"  n={n:<4} q={q} {better:44.1f} {held:8.1f}")
    print("\npower: a true gain that is shown (80 planned)")
    for n, q, gain in ((155, 0.2, 0.1), (234, 0.3, 0.1), (312, 0.1, 0.05)):
        better, _ = shown_at_fixed_n(runs, n, q, gain)
        print(f"  n={n:<4} q={q} gain {100 * gain:.0f} points {better:36.1f}")


def skewed(runs: int, n: int) -> tuple[float, float]:
    """Graded gains of mean 0, nine of ten small and one a large loss: "better" by sign flips alone, and by the verdict."""
    rng, alone, decided = random.Random(n), 0, 0
    for _ in range(runs):
        gains = [0.05 if rng.random() < 0.9 else -0.45 for _ in range(n)]
        if sum(gains) > 0:
            alone += sign_flip(gains, rng) <= ALPHA
            decided += verdict([0.5] * n, [0.5 + gain for gain in gains], rng).verdict == "better"
    return 100 * alone / runs, 100 * decided / runs


def show_graded(runs: int) -> None:
    print('\ngraded and skewed, equal programs called "better" (nominal 2.5)      sign flips    verdict')
    for n in (20, 32, 50):
        alone, decided = skewed(max(1, runs // 5), n)
        print(f"  n={n} {alone:70.1f} {decided:10.1f}")


def show_looks(runs: int) -> None:
    print("\nlooking every 10 examples at equal programs: told apart (nominal 5)    mid-p     bets")
    for n in (100, 400):
        by_test, by_bets = shown_by_looking(runs, n, 0.3, 10)
        print(f"  up to {n} {by_test:62.1f} {by_bets:8.1f}")


def show_stops(runs: int) -> None:
    print("\nbets on a real gain, up to 1,200 examples: mean stop, shown; planned n for 80 % beside it")
    for q, gain, planned in ((0.2, 0.15, 68), (0.2, 0.1, 155), (0.1, 0.05, 312)):
        mean, found = stops(max(1, runs // 4), 1_200, q, gain)
        print(f"  q={q} gain {100 * gain:.0f} points {mean:38.0f} {found:8.1f} {planned:8}")


def show_search(runs: int) -> None:
    print(
        '\nthe best of equal programs, on the examples that chose it: luck, "better" by mid-p, by max-T (nominal 2.5)'
    )
    for candidates, n in ((4, 32), (16, 32)):
        luck, naive, corrected = search(max(1, runs // 10), candidates, n)
        print(f"  {candidates:>2} candidates, n={n} {luck:+28.1f} points {naive:8.1f} {corrected:8.1f}")


SHOWS: tuple[tuple[str, Callable[[int], None]], ...] = (
    ("intervals", show_intervals),
    ("fixed", show_fixed),
    ("graded", show_graded),
    ("looks", show_looks),
    ("stops", show_stops),
    ("search", show_search),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--only", nargs="+", choices=[name for name, _ in SHOWS], default=[name for name, _ in SHOWS])
    options = parser.parse_args()
    for name, show in SHOWS:
        if name in options.only:
            show(options.runs)


if __name__ == "__main__":
    main()
