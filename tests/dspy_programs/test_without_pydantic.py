"""Pydantic is used where a program uses it, and is imported by nobody else."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
import dspex
from dspex.testing import DummyLM

class QA(dspex.Signature):
    question: str = dspex.InputField()
    answer: list[dict[str, int]] = dspex.OutputField(min_length=1)

dspex.configure(lm=DummyLM([{"answer": '[{"a": 1}]', "reasoning": "r"}]))
assert dspex.ChainOfThought(QA)(question="?").answer == [{"a": 1}]
print(json.dumps([name for name in sys.modules if name.partition(".")[0] in ("pydantic", "pydantic_core", "json_repair")]))
"""


def test_a_program_without_models_imports_no_pydantic(tmp_path):
    command = [sys.executable, "-c", PROGRAM]
    assert json.loads(subprocess.run(command, capture_output=True, check=True, cwd=tmp_path).stdout) == []
