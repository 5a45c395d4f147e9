"""explain: the parts of a program as a tree and as data."""

import dspex
from dspex.testing import DummyLM


class Writer(dspex.Module):
    def __init__(self):
        self.plan = dspex.ChainOfThought("topic -> plan: list[str]")
        self.checks = {"facts": [dspex.Predict("text -> ok: bool", temperature=0.0)]}
        self.best = dspex.BestOfN(dspex.Predict("plan -> text"), 3, len, 0.5)


def search(query: str) -> str:
    """Finds pages."""
    return query


def test_it_reads_as_a_tree():
    with dspex.context(lm=DummyLM([])):
        text = str(Writer().explain())
    lines = text.splitlines()
    assert lines[0] == "Writer"
    assert lines[1:4] == [
        "  plan: ChainOfThought",
        "    plan.predict: Predict",
        "      topic: str -> reasoning: str, plan: list[str]",
    ]
    assert "  checks['facts'][0]: Predict (temperature=0.0)" in lines
    assert "  best: BestOfN (N=3, threshold=0.5, fail_count=3, reward_fn=len)" in lines
    assert "    best.module: Predict" in lines
    assert "LM dummy (the setting); adapter chat; 0 demos; prompt of " in text
    assert repr(Writer().explain()) == str(Writer().explain())


def test_its_parts_are_data_with_the_size_of_the_prompt():
    program = dspex.Predict("question -> answer")
    bare = program.explain().parts[0]
    program.demos = [dspex.Example(question="1+1?", answer="2")] * 2
    program.lm = DummyLM([])
    [part] = program.explain().parts
    assert (part.path, part.kind, part.signature, part.demos) == ("self", "Predict", "question: str -> answer: str", 2)
    assert part.lm == "dummy (its own)"
    assert part.adapter == "chat"
    assert bare.lm is None
    assert bare.demo_characters == 0
    assert part.prompt_characters == bare.prompt_characters + part.demo_characters
    rendered = dspex.ChatAdapter().format(program.signature, program.demos, {})
    assert part.prompt_characters == sum(len(message["content"]) for message in rendered)


def test_it_follows_the_adapter_that_is_set():
    with dspex.context(adapter=dspex.JSONAdapter(), lm=DummyLM([])):
        assert dspex.Predict("a -> b").explain().parts[0].adapter == "json"


def test_an_adapter_that_needs_inputs_leaves_the_size_open():
    class Own(dspex.ChatAdapter):
        def format_user_message_content(self, signature, inputs, *args, **kwargs):
            return inputs["a"].upper()

    with dspex.context(adapter=Own(), lm=DummyLM([])):
        [part] = dspex.Predict("a -> b").explain().parts
        text = str(dspex.Predict("a -> b").explain())
    assert part.prompt_characters is None
    assert "prompt of unknown size" in text


def test_an_agent_shows_its_tools_and_a_shared_part_stands_once():
    agent = dspex.ReAct("question -> answer", tools=[search])
    text = str(agent.explain())
    assert text.startswith("ReAct (tools=[Tool(search(query))], max_iters=20")
    holder = Writer()
    holder.again = holder.plan
    assert str(holder.explain()).count("ChainOfThought") == 1


def test_long_instructions_are_cut():
    program = dspex.Predict(dspex.Signature("a -> b", " ".join(["word"] * 200)))
    assert len(max(str(program.explain()).splitlines(), key=len)) < 220
    assert program.explain().parts[0].instructions == " ".join(["word"] * 200)
