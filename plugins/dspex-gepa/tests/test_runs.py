"""Runs: as fast as their critical path, killed and gone on with, forked."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import dspex
from dspex.testing import VirtualClock, simulate

CALL_S = 0.02


class Two(dspex.Module):
    """Two calls after each other."""

    def __init__(self):
        super().__init__()
        self.first = dspex.Predict("ticket -> desk")
        self.second = dspex.Predict("ticket -> desk")

    async def aforward(self, ticket):
        await self.first.acall(ticket=ticket)
        return await self.second.acall(ticket=ticket)


@pytest.mark.parametrize("proposals", [1, 4])
def test_a_search_takes_the_time_of_its_critical_path(office, proposals):
    """In virtual time, at 20 ms a call: a round is a run before, a reflection, a run after, and one on the valset."""

    async def before(request):
        await asyncio.sleep(CALL_S)

    clerk = office.Clerk(most=1, before=before)

    async def main():
        async with dspex.App(clock=VirtualClock()):
            with dspex.context(lm=clerk.lm):
                gepa = dspex.GEPA(
                    office.metric, max_metric_calls=400, reflection_lm=clerk.lm, proposals=proposals, num_threads=100,
                    track_stats=True, reflection_minibatch_size=6, use_merge=False,
                )  # fmt: skip
                began = asyncio.get_running_loop().time()
                program = await gepa.acompile(Two(), **office.data)
                return program.detailed_results, asyncio.get_running_loop().time() - began

    (found, seconds), _ = simulate(main)
    rounds = len(clerk.reflections) / proposals
    accepted = len(set(found.discovery_eval_counts[1:]))
    entered = accepted / proposals if proposals > 1 else accepted
    path = 2 * (1 + 2 * rounds + min(rounds, accepted)) + rounds
    least = 2 * (1 + 2 * rounds + entered) + rounds
    assert least * CALL_S <= seconds * 1.001
    assert seconds <= 1.2 * path * CALL_S
    assert rounds >= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_run_that_is_killed_pays_nothing_twice_and_ends_as_a_whole_one(tmp_path):
    script = Path(__file__).with_name("killed.py")
    command = [sys.executable, str(script), str(tmp_path), "0.1", "0.5", "0.9"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    runs = [json.loads(line) for line in said.splitlines()]
    assert len(runs) == 3
    for one in runs:
        assert (one["killed"], one["nothing"]) == (-signal.SIGKILL, [])
        assert (one["ended"], one["same"]) == (0, True)
        assert 0 < one["repeated"] <= 4  # the calls that were in flight


def test_a_run_goes_on_in_the_folder_of_its_log_dir(clerk, office, tmp_path):
    gepa = dspex.GEPA(office.metric, max_metric_calls=60, reflection_lm=clerk.lm, log_dir=str(tmp_path / "log"))
    first = gepa.compile(office.student, **office.data)
    asked = len(clerk.requests)
    assert gepa.compile(office.student, **office.data).dump_state() == first.dump_state()
    assert len(clerk.requests) == asked
    assert (tmp_path / "log" / "journal.jsonl").exists()


def test_a_fork_with_a_larger_budget_pays_for_the_rest_only(clerk, office, tmp_path):
    clerk.most = 1

    def compiled(calls, name, **options):
        before = len(clerk.requests)
        gepa = dspex.GEPA(office.metric, max_metric_calls=calls, reflection_lm=clerk.lm, track_stats=True)
        program = gepa.compile(office.student, **office.data, run_dir=tmp_path / name, **options)
        return program.detailed_results.to_dict()["candidates"], len(clerk.requests) - before

    short, paid = compiled(60, "short")
    forked, rest = compiled(120, "forked", fork=tmp_path / "short")
    whole, needed = compiled(120, "whole")
    assert forked == whole
    assert forked[: len(short)] == short
    assert rest == needed - paid


def test_a_fork_with_another_proposer_asks_it(clerk, office, tmp_path):
    def compiled(word, name, **options):
        def proposer(candidate, reflective_dataset, components_to_update):
            asked.append(word)
            return {"self": f"{candidate['self']} {word}"}

        gepa = dspex.GEPA(office.metric, max_metric_calls=40, instruction_proposer=proposer)
        gepa.compile(office.student, **office.data, run_dir=tmp_path / name, **options)

    asked = []
    compiled("one", "first")
    compiled("other", "second", fork=tmp_path / "first")
    assert set(asked) == {"one", "other"}


def test_progress_says_which_phase_it_is_and_the_best_score(office):
    seen = []

    async def before(request):
        await asyncio.sleep(0.1)

    clerk = office.Clerk(before=before)

    async def main():
        async with dspex.App(clock=VirtualClock()):
            with dspex.context(lm=clerk.lm):
                gepa = dspex.GEPA(office.metric, max_metric_calls=100, reflection_lm=clerk.lm)
                job = gepa.start(office.student, **office.data)
                seen.extend([one async for one in job.events()])
                await job

    simulate(main)
    assert {"student", "search"} <= {one.phase for one in seen}
    assert seen[-1].best > 0
    assert seen[-1].spent.calls > 0
