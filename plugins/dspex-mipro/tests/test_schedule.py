"""The search's schedule: what it costs, in calls and in time, and where it ends."""

import math

import pytest

import dspex
from dspex.testing import VirtualClock, simulate


def run(data, optimizer, train=40, val=20, **options):
    """A compile without held examples."""
    examples = {"trainset": data.examples(0, train), "valset": data.examples(1_000, val), "holdout": 0}
    return optimizer.compile(options.pop("student", dspex.Predict("question -> answer")), **examples, **options)


def calls(program):
    """Calls by role, as budgeted."""
    return {role: usage["calls"] for role, usage in program.evidence.usage.items() if usage["calls"]}


def zero_shot(right, **options):
    return dspex.MIPROv2(right, max_bootstrapped_demos=0, max_labeled_demos=0, **options)


MODES = [
    ("light", 1, 40, False, 10, False),
    ("light", 1, 50, False, 10, False),
    ("light", 1, 51, False, 10, True),
    ("light", 1, 100, True, 9, True),
    ("medium", 1, 55, False, 18, True),
    ("heavy", 1, 10, False, 27, False),
    ("heavy", 1, 51, True, 27, True),
    ("light", 2, 20, False, 20, False),
    ("medium", 2, 20, True, 18, False),
]


@pytest.mark.parametrize(("mode", "predictors", "val", "is_zero_shot", "trials", "is_batched"), MODES)
def test_a_mode_costs_what_its_formula_says(
    model, data, right, two_steps, mode, predictors, val, is_zero_shot, trials, is_batched
):
    student = two_steps if predictors == 2 else dspex.Predict("question -> answer")
    search = zero_shot(right, auto=mode) if is_zero_shot else dspex.MIPROv2(right, auto=mode)
    program = run(data, search, 12, val, student=student)
    full = math.ceil(trials / 5) if is_batched else trials
    runs = val * (1 + full) + is_batched * 35 * trials
    assert list(program.trial_logs.values())[-1]["total_eval_calls_so_far"] == runs
    # What a program was run on already, in a minibatch, is not run again.
    pairs = sum(score is not None for one in program.candidate_programs for score in one["subscores"])
    assert calls(program)["task"] == predictors * pairs
    assert pairs == runs or is_batched
    count = {"light": 6, "medium": 12, "heavy": 18}[mode]
    written = predictors * ((count if is_zero_shot else count // 2) - 1)
    assert calls(program)["prompt"] == 2 + 1 + 1 + predictors + written
    shape = dspex.Shape(predictors, predictors, 12, val)
    assert program.ledger.calls <= search.estimate(shape).high <= 1.6 * program.ledger.calls
    assert program.ledger.paid == model.calls <= program.ledger.calls


@pytest.mark.parametrize(("trials", "every", "full"), [(7, 3, 3), (6, 3, 2), (2, 5, 1), (12, 1, 12)])
def test_after_every_few_trials_and_at_the_end_the_most_promising_point_is_run_on_all(
    model, data, right, trials, every, full
):
    search = dspex.MIPROv2(right, auto=None, num_candidates=10)
    program = run(data, search, num_trials=trials, minibatch_size=6, minibatch_full_eval_steps=every)
    names = [next(iter(log)) for log in program.trial_logs.values()]
    points = {str(log["point"]) for log in program.trial_logs.values()}
    assert names.count("mb_score") == trials
    # Each point is run on all examples once, and there may be fewer points than that.
    assert names.count("full_eval_score") == 1 + min(full, len(points) - 1)
    assert calls(program)["task"] <= names.count("full_eval_score") * 20 + trials * 6
    assert program.score == max(log.get("full_eval_score", 0) for log in program.trial_logs.values())


def test_no_point_is_run_on_all_examples_twice(model, data, right):
    search = dspex.MIPROv2(right, auto=None, num_candidates=6)
    program = run(data, search, num_trials=20, minibatch_size=4, minibatch_full_eval_steps=2)
    full = [str(log["point"]) for log in program.trial_logs.values() if "full_eval_score" in log]
    assert len(full) == len(set(full)) == 11
    seen, done = {}, {full[0]}
    for log in program.trial_logs.values():
        point = str(log["point"])
        if "mb_score" in log:
            seen.setdefault(point, []).append(log["mb_score"])
        elif point not in done:
            done.add(point)
            waiting = {other: sum(means) / len(means) for other, means in seen.items() if other not in done}
            assert sum(seen[point]) / len(seen[point]) >= max(waiting.values(), default=0)


WAVES = [
    # mode, options, waves before the proposals, trials, full runs
    ({"auto": "light"}, 60, 100, max(3, 7) + 2, 10, 2),
    ({"auto": "light", "summary": "parallel"}, 100, 100, max(3, 2) + 2, 10, 2),
    ({"auto": "medium"}, 30, 51, max(3, 4) + 2, 18, 4),
    ({"auto": "light"}, 30, 40, max(3, 4) + 2, 10, 0),
]


@pytest.mark.parametrize(("options", "train", "val", "before", "trials", "full"), WAVES)
def test_calls_that_need_not_wait_for_one_another_do_not(data, right, model, options, train, val, before, trials, full):
    slow = type(model)(seconds=0.02)

    async def main():
        async with dspex.App(clock=VirtualClock()):
            with dspex.context(lm=dspex.LM("slow", provider=slow, cache=False)):
                search = dspex.MIPROv2(right, num_threads=1_000, **options)
                examples = {"trainset": data.examples(0, train), "valset": data.examples(1_000, val), "holdout": 0}
                return await search.acompile(dspex.Predict("question -> answer"), **examples)

    simulate(main)
    # The student, the trials four at a time and the full runs between them.
    assert slow.waves <= 1.2 * (before + 1 + 1 + math.ceil(trials / 4) + full)


def test_a_race_stops_running_what_has_lost(model, data, right):
    plain, raced = (
        run(data, dspex.MIPROv2(right, auto="medium", race=race), 12, 40, minibatch=False) for race in (False, 1.64)
    )
    assert calls(raced)["task"] < calls(plain)["task"] == 40 * 19
    assert raced.score >= plain.score - 10
    short = [one for one in raced.candidate_programs if one["score"] is None and any(one["subscores"])]
    assert short
    assert raced.candidate_programs[0]["score"] == raced.score


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_at_the_wall_of_a_budget_the_best_so_far_comes_back(model, data, student, right, share):
    whole = run(data, dspex.MIPROv2(right))
    budget = dspex.Budget(calls=int(share * whole.ledger.calls), on_short="stop")
    before = model.calls
    short = run(data, dspex.MIPROv2(right), budget=budget)
    assert model.calls - before <= budget.calls
    assert short.evidence.stopped == "budget"
    best = short.candidate_programs[0]
    assert short.dump_state() == (student if best["score"] is None else best["program"]).dump_state()
    logs = getattr(short, "trial_logs", {})
    assert logs == dict(list(whole.trial_logs.items())[: len(logs)])


def test_a_budget_that_is_short_is_refused_or_fitted(model, data, right):
    examples = {"trainset": data.examples(0, 40), "valset": data.examples(1_000, 400)}
    student, heavy = dspex.Predict("question -> answer"), dspex.MIPROv2(right, auto="heavy")
    with pytest.raises(dspex.BudgetExceeded, match="may take"):
        heavy.compile(student, **examples, budget=dspex.Budget(calls=1_200))
    assert not model.calls
    program = heavy.compile(student, **examples, budget=dspex.Budget(calls=1_200, on_short="fit"))
    assert model.calls <= 1_200
    assert {len(one["subscores"]) for one in program.candidate_programs} == {100}
    assert any("made smaller" in note for note in program.evidence.notes)
    with pytest.raises(dspex.BudgetExceeded):
        heavy.compile(student, **examples, budget=dspex.Budget(calls=300, on_short="fit"))


def test_numbers_of_candidates_and_trials_are_fitted_to_a_budget(model, data, student, right):
    options = {"trainset": data.trainset, "valset": data.examples(1_000, 100), "num_trials": 20}
    numbers = dspex.MIPROv2(right, auto=None, num_candidates=10)
    assert numbers.quote(student, **options).calls > 900
    program = numbers.compile(student, **options, budget=dspex.Budget(calls=900, on_short="fit"))
    assert program.evidence.stopped == "done"
    assert model.calls == program.ledger.calls <= 900
    assert any("made smaller" in note for note in program.evidence.notes)
    assert 4 <= len(program.trial_logs) < 20
    with pytest.raises(dspex.BudgetExceeded, match="MIPROv2 may take"):
        numbers.compile(student, **options, budget=dspex.Budget(calls=150, on_short="fit"))


def test_a_run_that_was_cut_off_goes_on_and_pays_nothing_twice(model, data, right, tmp_path):
    whole = run(data, dspex.MIPROv2(right), val=60, run_dir=tmp_path / "run")
    paid = model.calls
    journal = tmp_path / "run" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[-1][:9])
    again = run(data, dspex.MIPROv2(right), val=60, run_dir=tmp_path / "run")
    assert again.dump_state() == whole.dump_state()
    assert again.trial_logs == whole.trial_logs
    assert again.ledger.reused + model.calls - paid == paid
