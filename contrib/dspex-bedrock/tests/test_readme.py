"""The README's own lines, run as they stand against a server on the loopback."""

import re
from pathlib import Path

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


def test_the_first_lines_answer_a_question(server, monkeypatch, capsys, reply):
    server.then(200, json=reply("[[ ## answer ## ]]\nYes, botanically.\n\n[[ ## completed ## ]]"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    exec(BLOCKS[0], {})
    assert capsys.readouterr().out == "Yes, botanically.\n"
    assert "/us-east-1/bedrock/" in server.requests[0].headers["authorization"]
