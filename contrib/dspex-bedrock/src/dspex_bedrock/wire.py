"""Requests in the form of the Converse API; plain functions, nothing is called."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.plugin import BadRequest, LMRequest
from dspex_bedrock.options import BedrockOptions
from dspex_bedrock.turns import to_turns

REPLY_TOOL = "reply_in_this_form"
_REPLY_WORDS = "Give the whole reply by one call of this tool, and nothing beside it."

# OpenAI's names for what the API does not have, and the capability that it would take.
_LACKING = MappingProxyType(
    {
        **dict.fromkeys(("logprobs", "top_logprobs"), "logprobs"),
        "grammar": "grammar",
        "reasoning_effort": "reasoning; a model's own way to think, as thinking=, goes to it as it is",
        "response_format": "response_format; a JSON schema goes as schema",
        **{name: name for name in ("frequency_penalty", "logit_bias", "presence_penalty", "seed", "user")},
    }
)
_CONFIG = MappingProxyType(
    {"max_tokens": "maxTokens", "max_completion_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP"}
)
_BESIDE = frozenset(
    {"additionalModelResponseFieldPaths", "guardrailConfig", "performanceConfig", "promptVariables", "requestMetadata",
     "serviceTier"}
)  # fmt: skip
_FORMATS_TEXT = r".*claude-(opus|sonnet|haiku)-(4-[5-9]|[5-9]).*"


def to_body(request: LMRequest, options: BedrockOptions) -> dict[str, Any]:
    """The JSON body of a request. Raises BadRequest for what the API has no form for, naming the capability."""
    if request.n > 1:
        raise BadRequest("The Converse API gives one completion a request (capability: n).")
    system, turns = to_turns(request.messages)
    body: dict[str, Any] = {"messages": turns}
    if system:
        body["system"] = system
    if request.tools:
        body["toolConfig"] = {"tools": [_tool(tool) for tool in request.tools]}
    if options.guardrail is not None:
        body["guardrailConfig"] = options.guardrail
    if request.params:
        _place_params(body, request.params)
    if request.schema is not None:
        _place_schema(body, request.schema, _way(request.model, options))
    return body


def _place_params(body: dict[str, Any], params: Mapping[str, Any]) -> None:
    given = {name: value for name, value in params.items() if value is not None}
    given |= given.pop("extra_body", {})
    for name in _LACKING.keys() & given.keys():
        raise BadRequest(f"The Converse API has no {name!r} (capability: {_LACKING[name]}).")
    if given.pop("parallel_tool_calls", True) is False:
        raise BadRequest("Bedrock can not be held to one call of a tool (capability: parallel_tool_calls).")
    config = {theirs: given.pop(name) for name, theirs in _CONFIG.items() if name in given}
    if (stop := given.pop("stop", None)) is not None:
        config["stopSequences"] = [stop] if isinstance(stop, str) else list(stop)
    if config:
        body["inferenceConfig"] = config
    _place_choice(body, given.pop("tool_choice", None))
    body |= {name: given.pop(name) for name in _BESIDE & given.keys()}
    if given:  # whatever the model itself knows: thinking, top_k, reasoning_config
        body["additionalModelRequestFields"] = given


def _place_choice(body: dict[str, Any], choice: Any) -> None:
    if choice is None or "toolConfig" not in body:
        return
    if choice == "none":
        # Turns that hold calls need the tools' declarations, so they stay, and the model is left to itself.
        raise BadRequest("Bedrock has no tool_choice 'none' (capability: tool_choice): offer no tools instead.")
    if isinstance(choice, Mapping):
        function = choice.get("function")
        body["toolConfig"]["toolChoice"] = {"tool": {"name": function["name"]}} if function else dict(choice)
    elif choice in ("auto", "required"):
        body["toolConfig"]["toolChoice"] = {"auto": {}} if choice == "auto" else {"any": {}}
    else:
        raise BadRequest(f"tool_choice={choice!r} is none of auto, required, and names no tool (tool_choice).")


def _way(model: str, options: BedrockOptions) -> str:
    if options.structured != "auto":
        return options.structured
    return "format" if re.fullmatch(_FORMATS_TEXT, model) else "tool"


def _place_schema(body: dict[str, Any], schema: Mapping[str, Any], way: str) -> None:
    if way == "format":
        text = msgspec.json.encode(schema).decode()
        form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": text, "name": "reply"}}}
        body["outputConfig"] = {"textFormat": form}
        return
    if schema.get("type") != "object":
        raise BadRequest("A reply by tool is a JSON object, and the schema asks for something else (json_schema).")
    config = body.setdefault("toolConfig", {"tools": []})
    forced = {"any": {}} if config["tools"] else {"tool": {"name": REPLY_TOOL}}
    spec = {"name": REPLY_TOOL, "description": _REPLY_WORDS, "inputSchema": {"json": schema}}
    config["tools"] = [*config["tools"], {"toolSpec": spec}]
    # A model that thinks first can not be forced to call a tool.
    thinks = "thinking" in body.get("additionalModelRequestFields", {})
    config["toolChoice"] = {"auto": {}} if thinks else forced


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in OpenAI's form, bare or wrapped, as the API takes it; one that is in its form already stays so."""
    if tool.keys() & {"toolSpec", "systemTool", "cachePoint"}:
        return dict(tool)
    function = tool.get("function", tool)
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    described = {"description": function["description"]} if function.get("description") else {}
    return {"toolSpec": {"name": function["name"], **described, "inputSchema": {"json": schema}}}
