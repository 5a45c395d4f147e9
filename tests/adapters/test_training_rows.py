"""Rows to train a model on: what an adapter asks, and the reply that it would read."""

import json

import pytest

import dspex

SIGNATURE = dspex.Signature("question: str -> answer: int, why: list[str]", "Answer it.")
OUTPUTS = {"answer": 4, "why": ["two and two", "[[ ## why ## ]]"]}
ADAPTERS = [dspex.ChatAdapter(), dspex.JSONAdapter(), dspex.XMLAdapter()]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda one: one.name)
def test_a_row_is_the_prompt_and_a_reply_that_reads_as_the_outputs(adapter):
    demos, inputs = [{"question": "1+1", "answer": 2, "why": []}], {"question": "2+2"}
    row = adapter.format_finetune_data(SIGNATURE, demos, inputs, OUTPUTS)
    *asked, reply = row["messages"]
    assert asked == adapter.format(SIGNATURE, demos, inputs)
    assert reply["role"] == "assistant"
    assert adapter.parse(SIGNATURE, reply["content"]) == OUTPUTS
    assert json.loads(json.dumps(row)) == row


def test_a_reply_in_chat_form_ends_as_the_form_wants_it():
    row = dspex.ChatAdapter().format_finetune_data(SIGNATURE, [], {"question": "2+2"}, OUTPUTS)
    assert row["messages"][-1]["content"].endswith("\n\n[[ ## completed ## ]]")


def test_a_model_that_goes_on_with_a_text_is_trained_on_texts():
    adapter, signature = dspex.PlainAdapter(), dspex.Signature("question: str -> answer: int, why: str")
    row = adapter.format_finetune_data(signature, [], {"question": "2+2"}, {"answer": 4, "why": "so"})
    assert row["prompt"].endswith("Answer:")
    assert row["completion"] == " 4\nWhy: so\n"
    assert adapter.parse(signature, row["completion"]) == {"answer": 4, "why": "so"}
    assert (adapter.finetune_format, dspex.ChatAdapter.finetune_format) == ("completion", "chat")


def test_an_adapter_that_writes_no_replies_says_so():
    class Mine(dspex.Adapter):
        def format(self, signature, demos, inputs):
            return [{"role": "user", "content": str(inputs)}]

    with pytest.raises(NotImplementedError, match="Mine writes no replies"):
        Mine().format_finetune_data(SIGNATURE, [], {}, OUTPUTS)
