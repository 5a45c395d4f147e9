"""`import dspex` is light: what is heavy comes with its first use."""

import json
import os
import statistics
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

HEAVY = frozenset({"aiohttp", "click", "dspex.cli", "dspex.testing", "rich", "structlog", "tenacity"})
TOUCH = "import dspex; dspex.LM, dspex.Predict, dspex.Evaluate"
RAW = "import asyncio, msgspec, aiohttp"
ROUNDS, RUNS = 5, 5


def answer(program: str, folder) -> str:
    """What a program prints in a fresh interpreter that stands in an empty folder."""
    command = [sys.executable, "-c", program]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=folder, env=env).stdout


def cpu_ms(statement: str, folder) -> float:
    """Processor time of a statement in a fresh interpreter, in milliseconds."""
    program = f"import time; began = time.process_time_ns(); {statement}; print(time.process_time_ns() - began)"
    return int(answer(program, folder)) / 1e6


def test_importing_dspex_loads_no_heavy_package_and_no_plugin(tmp_path):
    loaded = set(json.loads(answer(f"{TOUCH}\nimport json, sys; print(json.dumps(list(sys.modules)))", tmp_path)))
    plugins = {name for name in loaded if name.startswith("dspex_")} | {
        point.module for point in entry_points(group="dspex")
    }
    heavy = loaded & (HEAVY | plugins)
    assert not heavy


def test_importing_dspex_costs_at_most_half_of_asyncio_msgspec_and_aiohttp(tmp_path):
    for statement in (TOUCH, RAW):
        cpu_ms(statement, tmp_path)  # compiles the files
    # Each ratio is of two runs side by side, so that a machine that slows down meanwhile decides nothing; and the first of some
    # rounds that is in the limit says what the work takes, whatever others do there.
    tried = []
    for _ in range(ROUNDS):
        tried.append(statistics.median(cpu_ms(TOUCH, tmp_path) / cpu_ms(RAW, tmp_path) for _ in range(RUNS)))
        if tried[-1] <= 0.5:
            return
    pytest.fail(f"of the raw limit's processor time: {[round(ratio, 2) for ratio in tried]}")
