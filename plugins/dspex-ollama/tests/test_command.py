"""`dspex ollama`, as a person calls it."""

import pytest
from click.testing import CliRunner

from dspex_ollama.commands import ollama


@pytest.fixture
def said():
    """What the command says, and how it ends."""

    def said(*words):
        result = CliRunner().invoke(ollama, words)
        return result.output, result.exit_code

    return said


def test_the_installed_models_are_listed(server, said):
    server.then(200, json={"models": [{"name": "qwen3:8b"}, {"name": "llama3.2:latest"}]})
    assert said("--api-base", server.url) == ("ollama/llama3.2:latest\nollama/qwen3:8b\n", 0)
    assert server.requests[0].path == "/api/tags"


def test_no_model_is_told_and_how_to_get_one(server, said, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    server.then(200, json={"models": None})
    output, code = said()
    assert "ollama pull" in output
    assert code == 0


def test_a_server_that_is_not_there_is_told(said):
    output, code = said("--api-base", "http://127.0.0.1:9")
    assert "ollama serve" in output
    assert code == 1
