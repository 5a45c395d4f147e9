"""What comes back for what was asked."""

import json
import re

import pytest

import dspex
from dspex.plugin import BadRequest, LMRequest, Message
from dspex_llamacpp.wire import read_sampling, to_body

DEMOS = "Write the name as Last, First.\n\nName: Dr. Vera Young\nSorted: Young, Vera\n\nName: Tim Burton\nSorted:"
NAME = 'root ::= " " [A-Z] [a-z]+ ", " [A-Z] [a-z]+ "\\n"'
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


async def test_a_grammar_and_a_stop_string_shape_the_answer(model, ask):
    reply = await model.complete(ask(DEMOS, grammar=NAME, stop=["\n"], max_tokens=14))
    assert re.fullmatch(r" [A-Z][a-z]+, [A-Z][a-z]+", reply.text)
    assert reply.choices[0].finish_reason == "stop"
    assert 20 <= reply.usage.input_tokens <= 40
    assert 3 <= reply.usage.output_tokens <= 14
    assert reply.model == "gemma-3-270m"


async def test_a_prefix_that_was_read_before_is_reused(model, ask):
    await model.complete(ask(DEMOS, max_tokens=1))
    reply = await model.complete(ask(f"{DEMOS} Burton, Tim\n\nName: Ada King\nSorted:", max_tokens=1))
    assert reply.usage.cached_tokens >= 20


def test_a_request_without_max_tokens_is_bounded(model, ask):
    request = ask()
    body = to_body(request, read_sampling(request), chat=False, keep_prefix=True, index=0, to_grammar=str)
    assert body["max_tokens"] == model.capabilities.max_output_tokens == 256
    assert body["temperature"] == 0


async def test_messages_are_joined_to_one_prompt_for_a_completion_model(model, ask):
    parted = LMRequest("gemma-3-270m", (Message.of("system", "Count."), Message.of("user", "1 2 3")), {"max_tokens": 1})
    joined = ask("Count.\n\n1 2 3", max_tokens=1)
    first, second = [await model.complete(request) for request in (parted, joined)]
    assert first.usage.input_tokens == second.usage.input_tokens
    assert first.text == second.text


async def test_a_json_schema_is_kept_to(model, ask):
    reply = await model.complete(ask("Ada is 36. As JSON: ", schema=PERSON, max_tokens=40))
    person = json.loads(reply.text)
    assert isinstance(person["name"], str)
    assert isinstance(person["age"], int)


async def test_a_schema_that_the_engine_cannot_follow_is_a_bad_request(model, ask):
    """Here, as the engine takes three seconds for the first schema after another model's."""
    with pytest.raises(BadRequest, match=r"cannot follow this JSON schema \(capability: json_schema\)"):
        await model.complete(ask(schema={"$ref": "#/nowhere"}, max_tokens=4))


async def test_a_predictor_in_json_form_has_its_reply_held_to_the_outputs_types(model):
    lm = dspex.LM("local/gemma", provider=model, cache=False, max_tokens=40)
    with dspex.context(lm=lm, adapter="json", max_reasks=0):
        predict = dspex.Predict("question -> sure: bool, size: Literal['big', 'small'], pair: tuple[bool, bool] | None")
        assert "held to a JSON schema" in predict.adapter_choice().reason
        prediction = await predict.acall(question="Is an ant big?")
    assert isinstance(prediction.sure, bool)
    assert prediction.size in ("big", "small")


async def test_openais_response_format_means_the_same_schema(model, ask):
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    reply = await model.complete(ask("Ada is 36. As JSON: ", response_format=wanted, max_tokens=40))
    assert set(json.loads(reply.text)) == {"name", "age"}


async def test_log_probabilities_have_the_shape_of_chat_replies(model, ask):
    reply = await model.complete(ask(DEMOS, logprobs=True, top_logprobs=3, max_tokens=2))
    tokens = reply.choices[0].logprobs["content"]
    assert len(tokens) == 2
    assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 3 for token in tokens)


async def test_several_choices_differ_and_come_again_with_the_same_seed(model, ask):
    request = ask("A random word:", n=3, temperature=1.5, seed=7, max_tokens=4)
    reply = await model.complete(request)
    assert len({choice.text for choice in reply.choices}) > 1
    assert reply.usage.output_tokens == 12
    assert 3 <= reply.usage.input_tokens <= 6


async def test_a_stream_gives_the_same_text_piece_by_piece(model, ask):
    request = ask(DEMOS, grammar=NAME, stop=["\n"], max_tokens=14)
    deltas = [delta async for delta in model.stream(request)]
    assert len(deltas) >= 3
    assert re.fullmatch(r" [A-Z][a-z]+, [A-Z][a-z]+", "".join(delta.text for delta in deltas))
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].usage.output_tokens >= 3


async def test_deterministic_answers_are_equal_to_the_last_digit_in_any_order(another, ask):
    model = another(deterministic=True, context=512)
    asked = [ask(DEMOS, logprobs=True, max_tokens=2), ask("One, two,", max_tokens=2), ask(f"{DEMOS} B", max_tokens=2)]
    first = [await model.complete(request) for request in asked]
    again = [await model.complete(request) for request in reversed(asked)]
    assert [reply.choices for reply in reversed(again)] == [reply.choices for reply in first]
    assert again[0].usage.cached_tokens == 0


async def test_a_chat_template_makes_a_chat_model_of_it(another, cache_folder, ask):
    [file] = cache_folder.glob("llamacpp/gemma-3-270m-*.gguf")
    template = "{% for message in messages %}{{ message.role }}: {{ message.content }} {% endfor %}"
    model = another("mine", path=file, context=512, chat_template=template)
    assert model.capabilities.chat is True
    reply = await model.complete(ask("a b", max_tokens=2, logprobs=True))
    assert reply.model == "mine"
    assert reply.text
    assert len(reply.choices[0].logprobs["content"]) == 2
    deltas = [delta async for delta in model.stream(ask("a b", max_tokens=2))]
    assert "".join(delta.text for delta in deltas) == reply.text
    assert deltas[-1].usage.total_tokens == reply.usage.total_tokens


async def test_whether_a_file_takes_turns_is_read_from_it(another, cache_folder):
    [file] = cache_folder.glob("llamacpp/gemma-3-270m-*.gguf")
    model = another(str(file), context=512)
    assert model.capabilities.chat is None
    await model.start()
    assert model.capabilities.chat is False
    assert model.licence is None
