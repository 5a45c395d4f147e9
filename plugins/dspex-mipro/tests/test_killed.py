"""A compile that is killed by kill -9 goes on where it was, whichever optimizer it is of."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("MIPROv2", "BootstrapFewShotWithOptuna")
AT_ONCE = 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_pays_nothing_twice_and_ends_as_a_whole_one(tmp_path, name):
    script = Path(__file__).with_name("killed.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), name], capture_output=True, text=True, check=True
    )
    one = json.loads(done.stdout)
    assert (one["killed"], one["nothing"]) == (-signal.SIGKILL, None)
    assert (one["ended"], one["same"]) == (0, True)
    assert 0 < one["repeated"] <= AT_ONCE  # the calls that were in flight
