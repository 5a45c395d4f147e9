"""The plugin as its users meet it, on every supported Python."""

import subprocess
import sys

import dspex
from dspex.testing.errands import Climbs, Computes, Doubles, ended, questions, right


async def test_it_is_found_by_name_and_gives_what_is_given_here():
    async with dspex.App(cache=False):
        evaluate = dspex.Evaluate(questions(20), right)
        here = await evaluate.acall(Doubles())
        there = await evaluate.acall(Doubles(), executor="processes")
    assert there.score == here.score
    assert there.failures == []


async def test_a_compile_takes_it_by_name(tmp_path):
    data = {"trainset": questions(12), "valset": questions(8, start=100), "holdout": 0}
    async with dspex.App(cache=False):
        here = await Climbs(right).acompile(Doubles(), run_dir=tmp_path / "here", **data)
        there = await Climbs(right).acompile(Doubles(), run_dir=tmp_path / "there", executor="processes", **data)
    assert there.dump_state() == here.dump_state()
    assert there.ledger.calls == here.ledger.calls


def test_it_works_from_a_plain_script_too():
    devset = [dspex.Example(rounds=n).with_inputs("rounds") for n in range(10)]
    result = dspex.Evaluate(devset, ended)(Computes(), executor="processes")
    assert [row.prediction.found for row in result.rows] == [Computes()(rounds=n).found for n in range(10)]


def test_importing_the_plugin_loads_nothing_heavy():
    program = (
        "import sys, dspex.plugin; before = set(sys.modules); import dspex_processes; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"asyncio", "subprocess"} & set(done.stdout.split())
