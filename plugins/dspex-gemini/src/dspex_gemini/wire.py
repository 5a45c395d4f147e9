"""Requests in the form of generateContent; plain functions, nothing is called."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dspex.plugin import BadRequest, LMRequest
from dspex_gemini.models import Traits
from dspex_gemini.options import GeminiOptions
from dspex_gemini.schemas import as_json_schema, as_openapi, reply_tool
from dspex_gemini.turns import to_contents

# OpenAI's names for what the API does not have, and the capability that it would take.
_LACKING = MappingProxyType(
    {
        "grammar": "grammar",
        "response_format": "response_format; a JSON schema goes as schema",
        **{name: name for name in ("logit_bias", "user")},
    }
)
_NAMES = MappingProxyType(
    {
        "max_tokens": "maxOutputTokens",
        "max_completion_tokens": "maxOutputTokens",
        "temperature": "temperature",
        "top_p": "topP",
        "top_k": "topK",
        "seed": "seed",
        "presence_penalty": "presencePenalty",
        "frequency_penalty": "frequencyPenalty",
    }
)
_BESIDE = frozenset({"cachedContent", "labels", "safetySettings", "serviceTier", "toolConfig"})
_CHOICES = MappingProxyType({"auto": "AUTO", "none": "NONE", "required": "ANY"})
_BUDGETS = MappingProxyType({"none": 0, "minimal": 512, "low": 1_024, "medium": 8_192, "high": 24_576})
_LEVELS = ("minimal", "low", "medium", "high")


def to_body(request: LMRequest, options: GeminiOptions, traits: Traits) -> dict[str, Any]:
    """The JSON body of a request. Raises BadRequest for what the API has no form for, naming the capability."""
    system, turns = to_contents(request.messages, signs_calls=traits.signs_calls)
    body: dict[str, Any] = {"contents": turns}
    config: dict[str, Any] = {}
    if options.thinking is not None:
        config["thinkingConfig"] = options.thinking
    if request.params:
        _place_params(body, config, request, traits)
    if system:
        body["systemInstruction"] = {"parts": system}
    if request.n > 1:
        config["candidateCount"] = request.n
    if request.tools:
        body["tools"] = _tools(request.tools)
    if request.schema is not None and request.tools and not traits.formats_with_tools:
        _place_reply_tool(body, request.schema)
    elif request.schema is not None:
        _place_schema(config, request.schema, options, traits)
    if options.safety:
        settings = [{"category": name, "threshold": limit} for name, limit in options.safety.items()]
        body.setdefault("safetySettings", settings)
    if config:
        body["generationConfig"] = config
    return body


def _place_params(body: dict[str, Any], config: dict[str, Any], request: LMRequest, traits: Traits) -> None:
    given = {name: value for name, value in request.params.items() if value is not None}
    extra = given.pop("extra_body", {})
    body |= extra
    config |= extra.get("generationConfig", {})
    for name in _LACKING.keys() & given.keys():
        raise BadRequest(f"The Gemini API has no {name!r} (capability: {_LACKING[name]}).")
    if given.pop("parallel_tool_calls", True) is False:
        raise BadRequest("The Gemini API can not be held to one call of a tool (capability: parallel_tool_calls).")
    for name, theirs in _NAMES.items():
        if name in given:
            config[theirs] = given.pop(name)
    if (stop := given.pop("stop", None)) is not None:
        config["stopSequences"] = [stop] if isinstance(stop, str) else list(stop)
    _place_logprobs(config, given)
    if (choice := given.pop("tool_choice", None)) is not None:
        body["toolConfig"] = {"functionCallingConfig": _tool_choice(choice)}
    if (effort := given.pop("reasoning_effort", None)) is not None:
        config["thinkingConfig"] = _thinking(effort, request.model, traits)
    for name, value in given.items():
        (body if name in _BESIDE else config)[name] = value


def _place_logprobs(config: dict[str, Any], given: dict[str, Any]) -> None:
    wanted, most = given.pop("logprobs", None), given.pop("top_logprobs", None)
    if wanted is None or wanted is False:
        return
    config["responseLogprobs"] = True
    if type(wanted) is int or most is not None:
        config["logprobs"] = most if most is not None else wanted


def _thinking(effort: Any, model: str, traits: Traits) -> dict[str, Any]:
    if effort not in _BUDGETS:
        raise BadRequest(f"reasoning_effort={effort!r} is none of {', '.join(_BUDGETS)} (capability: reasoning).")
    if traits.thinking == "budget" or (traits.thinking == "never" and effort == "none"):
        return {"thinkingBudget": _BUDGETS[effort], **({"includeThoughts": True} if effort != "none" else {})}
    if traits.thinking == "level":
        if effort not in _LEVELS:
            raise BadRequest(
                f"{model} always thinks first: reasoning_effort is one of {', '.join(_LEVELS)} (reasoning)."
            )
        return {"thinkingLevel": effort, "includeThoughts": True}
    known = "does not think first" if traits.thinking else "is not known to think first"
    raise BadRequest(
        f"{model} {known} (capability: reasoning). If it does, pass thinking= as the API's thinkingConfig."
    )


def _place_reply_tool(body: dict[str, Any], schema: Mapping[str, Any]) -> None:
    if schema.get("type") != "object":
        raise BadRequest("Beside tools a reply is a JSON object, and the schema asks for something else (json_schema).")
    body["tools"] = [*body["tools"], {"functionDeclarations": [reply_tool(schema)]}]
    body["toolConfig"] = {"functionCallingConfig": {"mode": "ANY"}}


def _place_schema(config: dict[str, Any], schema: Mapping[str, Any], options: GeminiOptions, traits: Traits) -> None:
    config["responseMimeType"] = "application/json"
    form = options.structured
    if form == "auto":
        form = "json_schema" if traits.reads_json_schema else "openapi"
    if form == "json_schema":
        config["responseJsonSchema"] = as_json_schema(schema)
    else:
        config["responseSchema"] = as_openapi(schema)


def _tools(tools: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    """Tools in OpenAI's form, bare or wrapped, as the API takes them; one in its own form (`{"googleSearch": {}}`) stays so."""
    functions = [tool.get("function", tool) for tool in tools]
    ours = [_declared(function) for function in functions if "name" in function]
    others = [dict(function) for function in functions if "name" not in function]
    return ([{"functionDeclarations": ours}] if ours else []) + others


def _declared(function: Mapping[str, Any]) -> dict[str, Any]:
    made = {name: function[name] for name in ("name", "description") if function.get(name)}
    parameters = function.get("parameters") or {}
    # A schema without properties is refused; a function without parameters has none.
    return made | ({"parametersJsonSchema": as_json_schema(parameters)} if parameters.get("properties") else {})


def _tool_choice(choice: Any) -> dict[str, Any]:
    if isinstance(choice, Mapping):
        function = choice.get("function")
        return {"mode": "ANY", "allowedFunctionNames": [function["name"]]} if function else dict(choice)
    if choice not in _CHOICES:
        raise BadRequest(f"tool_choice={choice!r} is none of {', '.join(_CHOICES)} and names no tool (tool_choice).")
    return {"mode": _CHOICES[choice]}
