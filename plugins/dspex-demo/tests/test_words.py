"""The words: no more than the comparisons show."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

import dspex
from dspex_demo.report import cost, next_commands, verdicts, words
from dspex_demo.study import Now, Outcome, seen


def gain(wins, losses, n=45):
    """The comparison that this many won and lost examples lead to."""
    old = [0.0] * wins + [1.0] * losses + [0.0] * (n - wins - losses)
    new = [1.0] * wins + [0.0] * losses + [0.0] * (n - wins - losses)

    def result(scores):
        rows = [(dspex.Example(x=str(i)).with_inputs("x"), None, score) for i, score in enumerate(scores)]
        return dspex.EvaluationResult(100 * sum(scores) / n, rows)

    return dspex.compare(result(old), result(new))


def told(demos, search):
    return [
        line.replace("[bold]", "").replace("[/bold]", "")
        for line in verdicts({"having demos": demos, "search on top": search})
    ]


def test_a_gain_of_the_search_is_called_shown_only_with_its_points_and_interval():
    _, line = told(gain(36, 0), gain(9, 0))
    assert line.startswith("What the search adds to the first draw is shown: +20 points, interval +")


def test_a_gain_that_is_not_shown_says_how_many_examples_it_would_need():
    _, line = told(gain(36, 0), gain(4, 1))
    assert line.startswith("What the search adds to the first draw is not shown: +7 points, interval -")
    assert "; a gain of that size would need about " in line


def test_a_loss_is_called_negative():
    _, line = told(gain(40, 0), gain(0, 9))
    assert line.startswith("What the search adds to the first draw is negative: -20 points, interval -")


def test_a_loss_that_is_not_shown_promises_no_gain():
    _, line = told(gain(40, 0), gain(1, 3))
    assert "is not shown: -4 points" in line
    assert "would need" not in line


def test_a_search_that_kept_the_first_set_has_no_gain_at_all():
    first, line = told(gain(40, 0), gain(0, 0))
    assert first.startswith("All of the gain is having demos at all, +89 points, interval +")
    assert "not shown: no test example came out differently, +0 points" in line


def test_most_of_the_gain_is_having_demos_where_the_search_adds_some():
    first, _ = told(gain(36, 0), gain(4, 1))
    assert first.startswith("Most of the gain is having demos at all, +80 points")


@pytest.mark.parametrize(
    ("demos", "expected"),
    [(gain(0, 0), "is not shown: no test"), (gain(2, 1), "is not shown: +2"), (gain(0, 9), "is negative")],
)
def test_demos_that_bring_nothing_are_not_sold(demos, expected):
    first, _ = told(demos, gain(0, 0))
    assert first.startswith("What the first random draw of demos brings ")
    assert expected in first


def outcome(**changes):
    empty = dict.fromkeys(Outcome.__struct_fields__)
    return Outcome(**{**empty, "calls": 235, "reused": 0, "lost": 0, "tokens": 25_701, "seconds": 61.2, **changes})


@pytest.mark.parametrize(
    ("changes", "reused"),
    [
        ({}, ""),
        ({"reused": 120}, ", 120 of them reused and not made again"),
        ({"reused": 120, "lost": 1}, ", 120 of them reused and not made again; 1 more was lost by a kill"),
        ({"reused": 120, "lost": 8}, ", 120 of them reused and not made again; 8 more were lost by a kill"),
    ],
    ids=["nothing reused", "reused", "one lost", "some lost"],
)
def test_the_cost_names_reused_and_lost_calls_where_there_are_any(changes, reused):
    assert cost(outcome(**changes)) == f"Cost: 235 calls{reused}; 25,701 tokens, 61 s in this process, 0 USD."


def test_progress_shows_calls_score_with_interval_tokens_and_time_left():
    now = Now("search", 39, 235, 5512, 0, (0.95, 0.76, 0.99), 51.4)
    assert words(now) == "39/235 calls, 95 % [76, 99], 5,512 tokens, 51 s left"
    assert words(msgspec.structs.replace(now, reused=12)).endswith(", 12 reused")
    assert words(Now("load the model", 0, 235)) == ""


def test_the_time_left_goes_by_paid_calls_and_is_unknown_at_first():
    spent = SimpleNamespace(calls=110, tokens=900, paid=10, reused=100, cached=0)
    progress = SimpleNamespace(phase="search", best=None, spent=spent)
    assert seen(progress, 210, 5.0) == Now("search", 110, 210, 900, 100, None, 50.0)
    spent.paid = 2
    assert seen(progress, 210, 5.0).left_s is None


@pytest.mark.parametrize("given", ["person=O'Neil, $HOME `x`", 'header=a "b" [kg]'])
def test_the_command_to_try_next_can_be_pasted_into_a_shell(given):
    run, other, doctor = next_commands("name", given, Path("/a folder/it's/program.json"))
    assert shlex.split(run) == [
        *("dspex", "run", "/a folder/it's/program.json", "--lm", "llamacpp/gemma-3-270m", "--input", given)
    ]
    assert (other, doctor) == ("dspex demo --task header", "dspex doctor")
