"""The study on the real model, small."""

import os
from pathlib import Path

import pytest

import dspex
from dspex.testing import reset
from dspex_demo.command import MODEL
from dspex_demo.study import study
from dspex_demo.tasks import TASKS

# The run's own folder, if it names one: the model's 253 MB are then joined once for all.
MODELS = os.environ.get("DSPEX_CACHE_DIR")


@pytest.fixture
def lm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dspex.LM:
    """The embedded model; no reply of an earlier test answers for it."""
    if MODELS:
        monkeypatch.setenv("DSPEX_CACHE_DIR", MODELS)
    return dspex.LM(MODEL, temperature=0.0, rollout_id=str(tmp_path), context=1024, threads=1)


# A real model, which computes: a minute where others share the machine.
@pytest.mark.timeout(240)
def test_a_short_study_shows_what_demos_bring_and_goes_on_for_nothing(lm, tmp_path, run_saved):
    task = TASKS["name"]
    data, folder = task.data(0, 24, 3, 10), tmp_path / "run"
    found = study(task, data, lm, folder, lambda now: None, sets=2, demos=5)
    assert found.results["zero-shot"].score <= 20
    assert found.results["first demo set"].score >= 50
    assert found.gains["having demos"].verdict == "better"
    assert (found.reused, found.lost) == (0, 0)
    assert found.tokens > 1_000
    again = study(task, data, lm, folder, lambda now: None, sets=2, demos=5)
    assert (again.calls, again.reused) == (found.calls, found.calls)
    assert again.results["optimised"].score == found.results["optimised"].score
    assert ", " in run_saved(found.saved, f"person={data.test[0].person}")


@pytest.fixture
def run_saved():
    """`dspex run` as the demo's last lines name it, on the model that is loaded already."""
    from click.testing import CliRunner

    from dspex.cli.main import cli

    def call(saved: Path, given: str) -> str:
        done = CliRunner().invoke(cli, ["run", str(saved), "--lm", MODEL, "--input", given])
        assert done.exit_code == 0, done.output
        return done.output

    yield call
    reset()
