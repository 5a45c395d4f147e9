"""The README's own tests, run as they stand."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_lines_of_use_do_what_they_say(run):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    run("\n".join(blocks)).assert_outcomes(passed=2)
