"""The README's own lines, run as they stand against a server on the loopback."""

import re
from pathlib import Path

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


def test_the_first_lines_answer_a_question(server, monkeypatch, capsys, reply):
    server.then(200, json={"capabilities": ["completion"]})
    server.then(200, json=reply("[[ ## answer ## ]]\nYes, botanically.\n\n[[ ## completed ## ]]"))
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    exec(BLOCKS[0], {})
    assert capsys.readouterr().out == "Yes, botanically.\n"
    assert [request.path for request in server.requests] == ["/api/show", "/api/chat"]
    assert server.requests[1].json["options"] == {"num_ctx": 8192}
