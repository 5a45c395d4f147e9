"""The README's own lines, run as they stand against a server on the loopback."""

import re
from pathlib import Path

import dspex

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


def test_the_first_lines_answer_a_question(server, monkeypatch, capsys):
    text = "[[ ## answer ## ]]\nYes, botanically.\n\n[[ ## completed ## ]]"
    server.then(200, json={"content": [{"type": "text", "text": text}], "stop_reason": "end_turn"})
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-readme")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    exec(BLOCKS[0], {})
    assert capsys.readouterr().out == "Yes, botanically.\n"
    assert server.requests[0].json["model"] == "claude-sonnet-4-5"
    assert server.requests[0].json["max_tokens"] == 64_000
    assert server.requests[0].headers["x-api-key"] == "sk-readme"


def test_a_handle_that_thinks_is_known_to_reason():
    made: dict[str, dspex.LM] = {}
    exec(BLOCKS[1], made)
    assert made["lm"].capabilities.reasoning is True
