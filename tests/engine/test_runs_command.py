"""`dspex runs`: what is listed, told and done; a damaged run harms nobody."""

import asyncio
import json
import os

import pytest
from click.testing import CliRunner

import dspex
from dspex.app.app import App
from dspex.cli.main import cli
from dspex.runtime.journal import FILE, Journal


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """All runs are here."""
    monkeypatch.setenv("DSPEX_RUNS_DIR", str(tmp_path / "runs"))


@pytest.fixture
def made(lab, tmp_path):
    """Make runs by name below the runs folder: `made(name, **options)`."""

    def make(name, **options):
        async def main():
            async with App():
                return await lab.compiled(lab.Model(), run_dir=tmp_path / "runs" / name, **{"sets": 1, **options})

        return asyncio.run(main())

    return make


def told(*arguments, code=0):
    """What the command prints."""
    result = CliRunner().invoke(cli, ["runs", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def damage(folder):
    """Change a byte in the tenth line."""
    lines = (folder / FILE).read_bytes().splitlines(keepends=True)
    lines[9] = lines[9].replace(b"t", b"T", 1)
    (folder / FILE).write_bytes(b"".join(lines))


def test_runs_are_listed_and_a_damaged_one_with_its_fault(made, tmp_path):
    assert "There are no runs in" in told("list")
    program = made("good")
    made("damaged")
    damage(tmp_path / "runs" / "damaged")
    (tmp_path / "runs" / "no run").mkdir()
    before = (tmp_path / "runs" / "damaged" / FILE).read_bytes()
    rows = {row["name"]: row for row in json.loads(told("list", "--json"))}
    assert set(rows) == {"good", "damaged"}
    assert (rows["good"]["optimizer"], rows["good"]["status"]) == ("Search", "done")
    assert rows["good"]["calls"] == program.ledger.calls
    assert rows["good"]["verdict"] == program.evidence.verdict
    assert rows["damaged"]["status"] == "broken"
    assert "line 10, byte" in rows["damaged"]["fault"]
    shown = told("list")
    assert "its checksum is wrong" in shown
    assert "Search" in shown
    assert (tmp_path / "runs" / "damaged" / FILE).read_bytes() == before


def test_a_run_is_told_whole(made, tmp_path):
    program = made("one", budget=dspex.Budget(calls=500, on_short="stop"))
    shown = told("show", "on")
    for text in ("one: done race", "Search want=2", "20 trainset, 16 valset", "500 calls", "candidates 2: set 0"):
        assert text in shown
    assert f"{program.ledger.paid:,} calls paid" in shown
    assert "one: done" in told("watch", "one")


@pytest.mark.parametrize("named", ["none", "tw"])
def test_a_name_that_is_none_or_several_runs_is_said(made, named):
    made("two a")
    made("two b")
    assert "names no single run" in told("show", named, code=2)


@pytest.fixture
def going_on(program, tmp_path):
    """A process that runs a search in runs/slow, and is in the middle of it."""
    script = tmp_path / "train.py"
    script.write_text(
        "import asyncio, sys, lab, dspex\n"
        "async def wait(number, text):\n"
        "    if number == 30: print('there', flush=True)\n"
        "    await asyncio.sleep(0.001 if number < 30 else 0.2)\n"
        "dspex.configure(lm=lab.Model(wait).lm)\n"
        "lab.Search().compile(dspex.Predict('question -> answer'), run_dir=sys.argv[1], num_threads=4, **lab.DATA)\n"
    )
    started = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    process = program(started, tmp_path / "runs" / "slow")
    assert process.out.readline() == "there\n"
    return process


def test_a_run_that_goes_on_is_paused_resumed_cancelled_and_not_deleted(going_on, tmp_path):
    who = f"process {going_on.pid} on {os.uname().nodename}"
    assert told("pause", "slow") == f"{who} was asked to pause it.\n"
    assert told("resume", "slow") == f"{who} goes on with it.\n"
    assert f"in use by {who}" in told("rm", "slow", "--yes", code=2)
    assert told("cancel", "slow") == f"{who} was asked to cancel it.\n"
    assert "slow: cancelled" in told("watch", "slow")
    assert going_on.wait() == 0


def test_what_a_dead_run_needs_to_go_on_is_said(going_on, tmp_path):
    going_on.kill()
    said = told("resume", "slow", code=2)
    assert "it is interrupted" in said
    assert f"run {tmp_path / 'train.py'} again, with compile(..., run_dir='{tmp_path / 'runs' / 'slow'}')" in said
    assert "nobody to cancel it" in told("cancel", "slow", code=2)
    assert json.loads(told("list", "--json"))[0]["status"] == "interrupted"


def test_a_finished_run_needs_nothing(made):
    made("one")
    assert "It is done" in told("resume", "one")


def test_two_runs_are_compared_on_the_examples_of_both(lab, made):
    made("first")
    made("second", seed=1)
    made("third", optimizer=lab.Search(metric=lambda example, prediction: 1))
    shown = told("compare", "first", "second")
    assert "They differ in: seed." in shown
    assert "n=16, common examples" in shown
    assert "metrics differ" in told("compare", "first", "third")


def test_runs_are_deleted_when_that_is_confirmed(made, tmp_path):
    made("one")
    made("two")
    assert CliRunner().invoke(cli, ["runs", "rm", "one"], input="n\n").exit_code == 1
    told("rm", "one", "two", "--yes")
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_is_whole_of_a_damaged_run_is_repaired_to_another_folder(lab, made, tmp_path):
    whole = made("one")
    damage(tmp_path / "runs" / "one")
    with pytest.raises(dspex.JournalError, match=r"line 10, byte .*dspex runs repair"):
        Journal(tmp_path / "runs" / "one")
    assert told("repair", "one", tmp_path / "runs" / "whole").startswith("9 lines are in")
    assert "exists already" in told("repair", "one", tmp_path / "runs" / "whole", code=2)
    program = made("whole")
    assert program.dump_state() == whole.dump_state()
    assert program.ledger.reused > 0
