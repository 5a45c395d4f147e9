"""Requests in the form of the messages API; plain functions, nothing is called."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from dspex.plugin import BadRequest, LMRequest
from dspex_anthropic.models import Traits
from dspex_anthropic.options import AnthropicOptions
from dspex_anthropic.schemas import REPLY_TOOL, closed, fits_format, reply_tool
from dspex_anthropic.turns import cached, to_turns

# OpenAI's names for what the messages API does not have, and the capability that it would take.
_LACKING = MappingProxyType(
    {
        **dict.fromkeys(("logprobs", "top_logprobs"), "logprobs"),
        "grammar": "grammar",
        "response_format": "response_format; a JSON schema goes as schema",
        **{name: name for name in ("frequency_penalty", "presence_penalty", "logit_bias", "seed")},
    }
)
_DRAWING = MappingProxyType({"temperature": 1, "top_p": 1, "top_k": None})
_CHOICES = MappingProxyType({"auto": "auto", "none": "none", "required": "any"})
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
LEAST_BUDGET = 1_024
_BUDGETS = MappingProxyType({"minimal": LEAST_BUDGET, "low": LEAST_BUDGET, "medium": 4_096})
_LARGE_BUDGET = 16_384


def to_body(request: LMRequest, options: AnthropicOptions, traits: Traits) -> dict[str, Any]:
    """The JSON body of a request. Raises BadRequest for what the API has no form for, naming the capability."""
    if request.n > 1:
        raise BadRequest("The messages API gives one completion a request (capability: n).")
    system, turns = to_turns(request.messages)
    body: dict[str, Any] = {"model": request.model, "max_tokens": traits.max_output, "messages": turns}
    if options.thinking is not None:
        body["thinking"] = options.thinking
    if request.params:
        _place_params(body, request.params, traits)
    if system:
        body["system"] = system
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.schema is not None:
        _place_schema(body, request.schema, options, traits)
    if options.cache_prefix:
        cached(system or body.get("tools", []), options.cache_prefix)  # tools stand before the system prompt
        cached(turns[-2]["content"] if len(turns) > 1 else [], options.cache_prefix)
    _drop_broken_thought(body)
    return body


def thinks(body: Mapping[str, Any], traits: Traits) -> bool:
    """Whether the model thinks before it answers this request."""
    kind = (body.get("thinking") or {}).get("type")
    return traits.thinks_unasked if kind is None else kind != "disabled"


def _place_params(body: dict[str, Any], params: Mapping[str, Any], traits: Traits) -> None:
    given = {name: value for name, value in params.items() if value is not None}
    given |= given.pop("extra_body", {})
    for name in _LACKING.keys() & given.keys():
        raise BadRequest(f"The messages API has no {name!r} (capability: {_LACKING[name]}).")
    for name in () if traits.samples else _DRAWING:
        if given.get(name, _DRAWING[name]) != _DRAWING[name]:
            raise BadRequest(f"{body['model']} takes no {name} but its own (capability: {name}): leave it out.")
    for name in ("max_tokens", "max_completion_tokens"):
        if name in given:
            body["max_tokens"] = given.pop(name)
    if (stop := given.pop("stop", None)) is not None:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if (user := given.pop("user", None)) is not None:
        body["metadata"] = {"user_id": user}
    if (choice := given.pop("tool_choice", None)) is not None:
        body["tool_choice"] = _tool_choice(choice)
    if given.pop("parallel_tool_calls", None) is False:
        body["tool_choice"] = {"type": "auto", **body.get("tool_choice", {}), "disable_parallel_tool_use": True}
    effort = given.pop("reasoning_effort", None)
    body |= given
    if effort is not None:
        _place_effort(body, effort, traits)


def _place_effort(body: dict[str, Any], effort: Any, traits: Traits) -> None:
    if effort not in _EFFORTS:
        raise BadRequest(f"reasoning_effort={effort!r} is none of {', '.join(_EFFORTS)} (capability: reasoning).")
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif traits.thinking == "adaptive":
        level = "low" if effort == "minimal" else effort
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        body["output_config"] = {**body.get("output_config", {}), "effort": level}
    elif traits.thinking == "budget":
        budget = min(_BUDGETS.get(effort, _LARGE_BUDGET), body["max_tokens"] - 1)
        if budget < LEAST_BUDGET:
            raise BadRequest(
                f"Thinking takes {LEAST_BUDGET} tokens at least (capability: reasoning): raise max_tokens."
            )
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:
        known = "does not think first" if traits.thinking else "is not known to think first"
        raise BadRequest(
            f"{body['model']} {known} (capability: reasoning). If it does, pass thinking= as Anthropic's API takes it."
        )


def _place_schema(body: dict[str, Any], schema: Mapping[str, Any], options: AnthropicOptions, traits: Traits) -> None:
    if _way(schema, options, traits) == "format":
        form = {"type": "json_schema", "schema": closed(schema) if fits_format(schema) else schema}
        body["output_config"] = {**body.get("output_config", {}), "format": form}
        return
    if schema.get("type") != "object":
        raise BadRequest("A reply by tool is a JSON object, and the schema asks for something else (json_schema).")
    has_others = "tools" in body
    body["tools"] = [*body.get("tools", ()), reply_tool(schema)]
    if thinks(body, traits):  # then the API lets nobody force a tool
        body["tool_choice"] = {"type": "auto"}
    else:
        forced = {"type": "any"} if has_others else {"type": "tool", "name": REPLY_TOOL}
        body["tool_choice"] = {**forced, "disable_parallel_tool_use": True}


def _way(schema: Mapping[str, Any], options: AnthropicOptions, traits: Traits) -> Literal["format", "tool"]:
    if options.structured != "auto":
        return options.structured
    return "format" if traits.formats and fits_format(schema) else "tool"


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool in OpenAI's form, bare or wrapped, as the API takes it; one that is in its form already stays so."""
    function = tool.get("function", tool)
    if "input_schema" in function or ("function" not in tool and "type" in tool):
        return dict(tool)
    form = {"input_schema": function.get("parameters") or {"type": "object", "properties": {}}}
    return {name: function[name] for name in ("name", "description", "strict") if name in function} | form


def _tool_choice(choice: Any) -> dict[str, Any]:
    if isinstance(choice, Mapping):
        function = choice.get("function")
        return {"type": "tool", "name": function["name"]} if function else dict(choice)
    if choice not in _CHOICES:
        raise BadRequest(f"tool_choice={choice!r} is none of {', '.join(_CHOICES)} and names no tool (tool_choice).")
    return {"type": _CHOICES[choice]}


def _drop_broken_thought(body: dict[str, Any]) -> None:
    """Within a turn of calls the API wants the signed thoughts back, which our messages do not hold: it goes on without."""
    is_budget = (body.get("thinking") or {}).get("type") == "enabled"
    if is_budget and any(block["type"] == "tool_result" for block in body["messages"][-1]["content"]):
        del body["thinking"]
