"""The README's own lines, run as they stand against a server on the loopback."""

import re
from pathlib import Path

import pytest

import dspex

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # LiteLLM's own

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


def test_the_first_lines_answer_a_question(server, monkeypatch, capsys):
    text = "[[ ## answer ## ]]\nYes, botanically.\n\n[[ ## completed ## ]]"
    monkeypatch.setenv("COHERE_API_KEY", "sk-readme")
    monkeypatch.setenv("COHERE_API_BASE", f"{server.url}/v2/chat")
    body = {
        "id": "x",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
    }
    server.then(200, json={**body, "usage": {"tokens": {"input_tokens": 3, "output_tokens": 2}}}, times=None)
    exec(BLOCKS[0], {"dspex": dspex})
    assert capsys.readouterr().out == "Yes, botanically.\n"
    assert server.requests[0].headers["authorization"].endswith("sk-readme")


def test_the_mock_answers():
    exec(BLOCKS[1], {})
