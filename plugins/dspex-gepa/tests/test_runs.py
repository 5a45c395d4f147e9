"""Runs: as fast as their critical path, killed and gone on with, forked."""

import asyncio
import os
import signal
import sys

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


def child(conftest, folder, kill_at):
    """A compile in a process of its own that kills itself at that call; what it was asked is in `calls`."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        log = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        clerk = conftest.Clerk(most=1)

        async def before(request):
            os.write(log, b".")
            if len(clerk.requests) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        clerk.before = before

        async def main():
            async with dspex.App():
                with dspex.context(lm=clerk.lm):
                    gepa = dspex.GEPA(
                        conftest.told, max_metric_calls=90, reflection_lm=clerk.lm, num_threads=4, track_stats=True
                    )
                    data = {"trainset": conftest.tickets(12), "valset": conftest.tickets(12, 100), "holdout": 0}
                    program = await gepa.acompile(dspex.Predict("ticket -> desk"), **data, run_dir=folder / "run")
                    program.save(folder / "program.json")
                    (folder / "results.txt").write_text(repr(program.detailed_results.to_dict()))

        asyncio.run(main())
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
def test_a_run_that_is_killed_pays_nothing_twice_and_ends_as_a_whole_one(tmp_path, office):
    conftest = sys.modules[office.Clerk.__module__]

    def run(name, kill_at=None):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        status = child(conftest, folder, kill_at)
        told = [(folder / one).read_bytes() for one in ("program.json", "results.txt") if (folder / one).exists()]
        return status, told, (folder / "calls").stat().st_size

    status, whole, needed = run("whole")
    assert status == 0
    for kill_at in (5, needed // 2, needed - 2):
        assert run(f"killed-{kill_at}", kill_at)[0] == -signal.SIGKILL
        status, told, calls = run(f"killed-{kill_at}")
        assert (status, told) == (0, whole)
        assert calls <= needed + 4  # the calls that were in flight


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
