"""Requests as keywords of LiteLLM's `acompletion`; plain functions, nothing is called."""

from typing import Any

from dspex.plugin import BadRequest, Endpoint, LMRequest, to_dictionaries


def to_keywords(request: LMRequest, endpoint: Endpoint, options: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a call, without a retry of LiteLLM's own: those stand around it, once."""
    if "grammar" in request.params:
        raise BadRequest("LiteLLM has no form for a grammar (capability: grammar).")
    made: dict[str, Any] = {
        **request.params,
        **place(endpoint, options),
        "model": endpoint.model,
        "messages": [turn for message in request.messages for turn in to_dictionaries(message)],
        "num_retries": 0,
        "max_retries": 0,
    }
    if request.n > 1:
        made["n"] = request.n
    if request.tools:
        made["tools"] = [tool if "type" in tool else {"type": "function", "function": tool} for tool in request.tools]
    if request.schema is not None:
        form = {"name": "reply", "schema": request.schema, "strict": False}
        made["response_format"] = {"type": "json_schema", "json_schema": form}
    if type(made.get("logprobs")) is int:
        made |= {"logprobs": True, "top_logprobs": made["logprobs"]}
    return made


def place(endpoint: Endpoint, options: dict[str, Any]) -> dict[str, Any]:
    """Where a call goes, and what it shows there."""
    made = dict(options)
    if endpoint.api_key is not None:
        made["api_key"] = endpoint.api_key.reveal()
    if endpoint.base_url is not None:
        made["api_base"] = endpoint.base_url
    if endpoint.headers:
        made["extra_headers"] = dict(endpoint.headers)
    return made
