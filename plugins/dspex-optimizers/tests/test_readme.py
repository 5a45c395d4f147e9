"""The README's program runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_readmes_program_prints_what_it_says(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DSPEX_RUNS_DIR", str(tmp_path))
    [block] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(compile(block, str(README), "exec"), {})
    assert capsys.readouterr().out == "4\n"
