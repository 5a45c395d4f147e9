"""The README's own lines, run as they stand."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_lines_of_use_do_what_they_say(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, {"__name__": "readme"})
