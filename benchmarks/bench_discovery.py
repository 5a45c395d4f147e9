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
# On a machine that is slower than the one this was set for, where Python alone takes about as long to find the entry points of all
# packages and to import what the plugins' name: that time.
LIMIT_RATIO = 1.0
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
print(json.dumps([loaded, heavy, len(names), 1000 * took]))
"""
RAW = """\
import json, sys, time
sys.path.insert(0, {folder!r})
import dspex
began = time.process_time()
import importlib.metadata, pluggy
loaded = [point.load() for point in importlib.metadata.entry_points(group="dspex")]
print(json.dumps([len(loaded), 1000 * (time.process_time() - began)]))
"""


def install(folder: Path, count: int) -> None:
    """Distributions as pip leaves them, each with one entry point."""
    for number in range(count):
        info = folder / f"plugin_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dspex]\nplugin{number} = light{number}\n")
        (folder / f"light{number}.py").write_text(DECLARES.format(n=number))


def measured(program: str, folder: Path) -> list:
    """One fresh process."""
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", program.format(folder=str(folder))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return json.loads(done.stdout)


def runs(count: int, most: int) -> Iterator[tuple[float, float]]:
    """Milliseconds of processor time of each run, and of Python alone just after it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install(folder, count)
        measured(PROGRAM, folder)  # compiles the files
        for _ in range(most):
            loaded, heavy, names, took = measured(PROGRAM, folder)
            assert not loaded, "plugins are imported with dspex"
            assert not heavy, "what a plugin names is imported before it is used"
            points, raw = measured(RAW, folder)
            assert points >= count
            assert names >= count
            yield took, raw


def is_within_limit(took: float, raw: float) -> bool:
    """Whether a run took as little as it may."""
    return took <= max(LIMIT_MS, LIMIT_RATIO * raw)


def main(count: int = 100, most: int = 7) -> tuple[float, float]:
    """The medians of these runs; prints the figures."""
    took, raw = map(statistics.median, zip(*runs(count, most), strict=True))
    print(
        f"{count} plugins: {took:.1f} ms, {took / raw:.2f}x Python alone ({raw:.1f} ms); limit {LIMIT_MS:g} ms or {LIMIT_RATIO}x"
    )
    return took, raw


if __name__ == "__main__":
    raise SystemExit(not is_within_limit(*main(*map(int, sys.argv[1:]))))
