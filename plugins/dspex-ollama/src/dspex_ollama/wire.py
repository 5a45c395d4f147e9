"""Requests in the form of Ollama's chat; plain functions, nothing is called."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dspex.plugin import BadRequest, LMRequest
from dspex_ollama.options import OllamaEmbedderOptions, OllamaOptions
from dspex_ollama.turns import to_turns

# OpenAI's names for what Ollama does not have, and the capability that it would take.
_LACKING = MappingProxyType(
    {
        "grammar": "grammar; a JSON schema goes as schema",
        "response_format": "response_format; a JSON schema goes as schema",
        **{name: name for name in ("logit_bias", "user")},
    }
)
_RENAMED = MappingProxyType({"max_tokens": "num_predict", "max_completion_tokens": "num_predict"})
_BESIDE = frozenset({"keep_alive", "logprobs", "shift", "think", "top_logprobs", "truncate"})
_EFFORTS = ("none", "low", "medium", "high")
# The family that is told how much to think, and not only whether.
_BY_LEVEL = "gpt-oss"


def to_body(request: LMRequest, options: OllamaOptions, *, stream: bool) -> dict[str, Any]:
    """The JSON body of a request. Raises BadRequest for what Ollama has no form for, naming the capability."""
    if request.n > 1:
        raise BadRequest("Ollama gives one completion a request (capability: n).")
    body: dict[str, Any] = {"model": request.model, "messages": to_turns(request.messages), "stream": stream}
    body["truncate"] = False  # else Ollama drops the head of a prompt that is too long, and does not say so
    if options.keep_alive is not None:
        body["keep_alive"] = options.keep_alive
    if options.think is not None:
        body["think"] = options.think
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    elif request.schema is not None:
        # Beside tools it would hold the model to the schema from its first token on, and no tool could be called.
        body["format"] = request.schema
    drawing = _drawing(options)
    if request.params:
        _place_params(body, drawing, request.params)
    if drawing:
        body["options"] = drawing
    return body


def embedding_body(model: str, texts: list[str], options: OllamaEmbedderOptions) -> dict[str, Any]:
    """The JSON body of a request for embeddings."""
    more = {name: getattr(options, name) for name in ("dimensions", "truncate", "keep_alive")}
    drawing = _drawing(options)
    return {
        "model": model,
        "input": texts,
        **{name: value for name, value in more.items() if value is not None},
        **({"options": drawing} if drawing else {}),
    }


def _drawing(options: OllamaOptions | OllamaEmbedderOptions) -> dict[str, Any]:
    return {**(options.options or {}), **({} if options.num_ctx is None else {"num_ctx": options.num_ctx})}


def _place_params(body: dict[str, Any], drawing: dict[str, Any], params: Mapping[str, Any]) -> None:
    given = {name: value for name, value in params.items() if value is not None}
    extra = given.pop("extra_body", {})
    body |= extra
    drawing |= extra.get("options", {})
    for name in _LACKING.keys() & given.keys():
        raise BadRequest(f"Ollama has no {name!r} (capability: {_LACKING[name]}).")
    if given.pop("parallel_tool_calls", True) is False:
        raise BadRequest("Ollama can not be held to one call of a tool (capability: parallel_tool_calls).")
    _place_choice(body, given.pop("tool_choice", None))
    if (effort := given.pop("reasoning_effort", None)) is not None:
        body["think"] = _think(effort, body["model"])
    if (stop := given.pop("stop", None)) is not None:
        drawing["stop"] = [stop] if isinstance(stop, str) else list(stop)
    if type(given.get("logprobs")) is int:
        given = {**given, "logprobs": True, "top_logprobs": given["logprobs"]}
    for name, value in given.items():
        (body if name in _BESIDE else drawing)[_RENAMED.get(name, name)] = value


def _place_choice(body: dict[str, Any], choice: Any) -> None:
    """Ollama leaves it to the model whether it calls a tool; it calls none where none is offered."""
    if choice == "none":
        body.pop("tools", None)
    elif choice not in (None, "auto"):
        raise BadRequest(f"Ollama can not be told to call a tool, as by {choice!r:.80} (capability: tool_choice).")


def _think(effort: Any, model: str) -> bool | str:
    if effort not in _EFFORTS:
        raise BadRequest(f"reasoning_effort={effort!r} is none of {', '.join(_EFFORTS)} (capability: reasoning).")
    return str(effort) if effort != "none" and _BY_LEVEL in model else effort != "none"


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return tool if "function" in tool else {"type": "function", "function": tool}
