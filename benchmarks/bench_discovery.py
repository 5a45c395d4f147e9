"""Discovery with 100 installed plugins: beyond the import of dspex, and beside what entry points cost alone.

python benchmarks/bench_discovery.py [plugins] [runs]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

LIMIT_MS = 60.0
# What each plugin's light module looks like, and the heavy one that it names.
DECLARES = """\
import dspex


@dspex.hookimpl
def dspex_lm_providers():
    return [dspex.Spec("name{n}", "heavy{n}:Provider", "Models of {n}")]


@dspex.hookimpl
def dspex_optimizers():
    return [dspex.Spec("Optimizer{n}", "heavy{n}:Optimizer")]
"""
PROGRAM = """\
import json, sys, time
sys.path.insert(0, {folder!r})
import dspex
from dspex.app.app import current_app
loaded = [name for name in sys.modules if name.startswith(("light", "heavy"))]
began = time.process_time()
names = current_app().plugins.names("lm_providers")
took = time.process_time() - began
heavy = [name for name in sys.modules if name.startswith("heavy")]
import importlib.metadata
began = time.process_time()
points = len(importlib.metadata.entry_points(group="dspex"))
raw = time.process_time() - began
print(json.dumps([loaded, heavy, points, len(names), 1000 * raw, 1000 * took]))
"""


def install(folder: Path, count: int) -> None:
    """Distributions as pip leaves them, each with one entry point."""
    for number in range(count):
        info = folder / f"plugin_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dspex]\nplugin{number} = light{number}\n")
        (folder / f"light{number}.py").write_text(DECLARES.format(n=number))


def measured(folder: Path) -> list:
    """One fresh process."""
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", PROGRAM.format(folder=str(folder))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return json.loads(done.stdout)


def measured_runs(count: int, most: int) -> Iterator[list]:
    """What each run found, one after another."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install(folder, count)
        measured(folder)  # compiles the files
        for _ in range(most):
            loaded, heavy, points, names, *times = measured(folder)
            assert not loaded, "plugins are imported with dspex"
            assert not heavy, "what a plugin names is imported before it is used"
            assert points >= count
            assert names >= count
            yield times


def runs(count: int, most: int) -> Iterator[float]:
    """Milliseconds of processor time of each run, one after another."""
    return (took for _, took in measured_runs(count, most))


def main(count: int = 100, most: int = 7) -> float:
    """The median of these runs; prints the figures."""
    raw, took = map(statistics.median, zip(*measured_runs(count, most), strict=True))
    print(f"{count} plugins: {took:.1f} ms; to read entry points alone, once more: {raw:.1f} ms; limit {LIMIT_MS:g} ms")
    return took


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])) > LIMIT_MS)
