"""The README's own lines, run as they stand against a server on the loopback."""

import re
from pathlib import Path

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


def test_the_first_lines_answer_a_question(server, monkeypatch, capsys, reply):
    server.then(200, json=reply("[[ ## answer ## ]]\nYes, botanically.\n\n[[ ## completed ## ]]"))
    monkeypatch.setenv("GEMINI_API_KEY", "sk-readme")
    monkeypatch.setenv("GEMINI_BASE_URL", server.url)
    exec(BLOCKS[0], {})
    assert capsys.readouterr().out == "Yes, botanically.\n"
    assert server.requests[0].path == "/models/gemini-2.5-flash:generateContent"
    assert server.requests[0].headers["x-goog-api-key"] == "sk-readme"
