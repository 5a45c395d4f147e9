"""Requests in the form of OpenAI's chat completions; plain functions, nothing is called."""

from collections.abc import Iterator, Mapping
from typing import Any

from dspex.plugin import BadRequest, LMRequest, to_turns
from dspex_openai.models import thinks_first
from dspex_openai.options import OpenAIOptions

# What OpenAI's strict mode takes in a schema; one with more is sent as a wish and not as a rule.
STRICT_WORDS = frozenset(
    {"$defs", "$ref", "additionalProperties", "anyOf", "const", "description", "enum", "exclusiveMaximum",
     "exclusiveMinimum", "format", "items", "maxItems", "maximum", "minItems", "minimum", "multipleOf", "pattern",
     "properties", "required", "title", "type"}
)  # fmt: skip


def to_body(request: LMRequest, options: OpenAIOptions) -> dict[str, Any]:
    """The JSON body of a request. Raises BadRequest for what the server is not said to take."""
    body: dict[str, Any] = {"model": request.model, "messages": to_turns(request.messages), **request.params}
    if request.params:
        _fit_params(body, options)
    if request.n > 1:
        body["n"] = request.n
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.schema is not None:
        body["response_format"] = response_format(request.schema)
    return body


def _fit_params(body: dict[str, Any], options: OpenAIOptions) -> None:
    """Put the parameters of a body under the names that its model and server have for them; `extra_body` is more of it."""
    if "extra_body" in body:
        body |= body.pop("extra_body")
    if "max_tokens" in body and thinks_first(body["model"]):
        body["max_completion_tokens"] = body.pop("max_tokens")
    if type(body.get("logprobs")) is int:
        body |= {"logprobs": True, "top_logprobs": body["logprobs"]}
    if "grammar" in body:
        _place_grammar(body, options)


def to_stream_body(body: dict[str, Any], options: OpenAIOptions) -> dict[str, Any]:
    """The body made by `to_body` for a streamed reply, which has one choice."""
    body["stream"] = True
    body.pop("n", None)
    if options.stream_usage:
        body["stream_options"] = {"include_usage": True}
    return body


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema as response_format; strict, so that the reply must fit it, where OpenAI's strict mode takes it."""
    title = "".join(letter for letter in str(schema.get("title", "")) if letter.isascii() and letter.isalnum())
    named: dict[str, Any] = {"name": title[:64] or "reply", "schema": schema, "strict": False}
    if schema.get("type") == "object" and _can_be_strict(schema):
        named |= {"schema": _closed(schema), "strict": True}
    return {"type": "json_schema", "json_schema": named}


def _can_be_strict(schema: Mapping[str, Any]) -> bool:
    """Whether all properties of each object are required, no other is allowed on purpose, and every word is known."""
    is_open = schema.get("type") == "object" and "properties" not in schema
    closed = schema.get("additionalProperties", False) is False
    all_required = {*schema.get("properties", ())} == {*schema.get("required", ())}
    known = schema.keys() <= STRICT_WORDS
    return not is_open and closed and all_required and known and all(map(_can_be_strict, _parts(schema)))


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for word in ("properties", "$defs"):
        yield from schema.get(word, {}).values()
    yield from schema.get("anyOf", ())
    if "items" in schema:
        yield schema["items"]


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its objects said to have no further properties, which strict mode wants to read."""
    made = dict(schema)
    for word in made.keys() & {"properties", "$defs"}:
        made[word] = {name: _closed(part) for name, part in made[word].items()}
    if "anyOf" in made:
        made["anyOf"] = [_closed(part) for part in made["anyOf"]]
    if "items" in made:
        made["items"] = _closed(made["items"])
    return made | ({"additionalProperties": False} if "properties" in made else {})


def _place_grammar(body: dict[str, Any], options: OpenAIOptions) -> None:
    if options.server == "openai":
        raise BadRequest(
            "grammar: this endpoint is not said to take grammars. For a server of your own say which it is: "
            "dspex.LM(..., server='llamacpp') or server='vllm'."
        )
    if options.server == "vllm":
        body["structured_outputs"] = {"grammar": body.pop("grammar")}


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return tool if "type" in tool else {"type": "function", "function": tool}
