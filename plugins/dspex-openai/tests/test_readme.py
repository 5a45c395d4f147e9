"""The README's own lines, run as they stand against a server on the loopback."""

import re
from pathlib import Path

import dspex

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


def test_the_first_lines_answer_a_question(server, monkeypatch, capsys):
    content = "[[ ## answer ## ]]\nYes, botanically.\n\n[[ ## completed ## ]]"
    server.then(200, json={"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})
    monkeypatch.setenv("OPENAI_API_KEY", "sk-readme")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    exec(BLOCKS[0], {})
    assert capsys.readouterr().out == "Yes, botanically.\n"
    assert server.requests[0].json["model"] == "gpt-4o-mini"
    assert server.requests[0].headers["authorization"] == "Bearer sk-readme"


def test_a_server_of_your_own_is_known_to_take_grammars():
    made: dict[str, dspex.LM] = {}
    exec(BLOCKS[1], made)
    assert made["lm"].capabilities.grammar is True
