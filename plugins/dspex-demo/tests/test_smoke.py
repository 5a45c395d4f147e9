"""The plugin on every supported Python, without the model."""

import json
import subprocess
import sys

from dspex_demo.tasks import TASKS


def test_the_demo_runs_and_shows_that_demos_help(run_demo, clerk, tmp_path):
    provider = clerk("city")
    told = json.loads(run_demo(provider, tmp_path / "run", "city", as_json=True))
    assert told["gains"]["both"]["verdict"] == "better"
    assert told["calls"] == provider.calls
    program = TASKS["city"].program().load(tmp_path / "run" / "program.json")
    assert len(program.demos) == 8


def test_declaring_the_command_imports_nothing():
    heavy = "{'click', 'rich', 'platformdirs', 'dspex_demo.command', 'dspex_llamacpp'}"
    program = f"import sys, dspex_demo; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
