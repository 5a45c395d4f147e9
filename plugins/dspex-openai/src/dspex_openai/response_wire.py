"""Requests in the form of OpenAI's Responses API; plain functions, nothing is called."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from dspex.plugin import Audio, BadRequest, File, Image, LMRequest, Message, Part, Text, ToolCall, ToolResult
from dspex_openai.wire import response_format

Item = dict[str, Any]

# Names of chat completions that this API does not have, and the capability that each would take.
_LACKING = MappingProxyType(
    {
        "grammar": "grammar",
        "response_format": "response_format; a JSON schema goes as schema",
        **{name: name for name in ("frequency_penalty", "logit_bias", "presence_penalty", "seed", "stop")},
    }
)
_RENAMED = MappingProxyType({"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"})
_WITH_LOGPROBS = "message.output_text.logprobs"


def to_response_body(request: LMRequest) -> dict[str, Any]:
    """The JSON body of a request. Raises BadRequest for what the API has no form for, naming the capability."""
    if request.n > 1:
        raise BadRequest("The Responses API gives one completion a request (capability: n).")
    items = [item for message in request.messages for item in _items(message)]
    # Unasked, OpenAI would keep each reply for a month.
    body: dict[str, Any] = {"model": request.model, "input": items, "store": False}
    if request.params:
        _place_params(body, request.params)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.schema is not None:
        body["text"] = {**body.get("text", {}), "format": _format(request.schema)}
    return body


def _place_params(body: dict[str, Any], params: Mapping[str, Any]) -> None:
    given = {name: value for name, value in params.items() if value is not None}
    given |= given.pop("extra_body", {})
    for name in _LACKING.keys() & given.keys():
        raise BadRequest(f"The Responses API has no {name!r} (capability: {_LACKING[name]}).")
    if (effort := given.pop("reasoning_effort", None)) is not None:
        body["reasoning"] = {"effort": effort, **given.pop("reasoning", {})}
    wanted = given.pop("logprobs", None)
    if wanted is not None and wanted is not False:
        given["include"] = [*given.get("include", ()), _WITH_LOGPROBS]
        if type(wanted) is int:
            given["top_logprobs"] = wanted
    if isinstance(choice := given.get("tool_choice"), Mapping) and "function" in choice:
        given["tool_choice"] = {"type": "function", "name": choice["function"]["name"]}
    body |= {_RENAMED.get(name, name): value for name, value in given.items()}


def _format(schema: Mapping[str, Any]) -> Item:
    """The same as chat completions have it, a level higher."""
    form = response_format(schema)
    return {"type": form["type"], **form["json_schema"]}


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool in the form of chat completions, bare or wrapped; one of the API's own stays as it is."""
    if "function" not in tool and "type" in tool:
        return tool
    function = {"parameters": {"type": "object", "properties": {}}, **tool.get("function", tool)}
    return {"type": "function", "strict": False, **function}


def _items(message: Message) -> Iterator[Item]:
    """A message as items: calls and results are items of their own; results stand first."""
    contents: list[Item] = []
    calls: list[Item] = []
    for part in message.parts:
        match part:
            case ToolCall(id=call_id, name=name, arguments=arguments):
                calls.append(
                    {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments or "{}"}
                )
            case ToolResult(id=call_id, text=text):
                yield {"type": "function_call_output", "call_id": call_id, "output": text}
            case _:
                contents.append(_content(part))
    if contents:
        yield {"role": message.role, "content": _joined(contents)}
    yield from calls


def _joined(contents: Iterable[Item]) -> str | list[Item]:
    """Text alone goes as text, which is right for a turn of either side."""
    contents = list(contents)
    if all(content["type"] == "input_text" for content in contents):
        return "".join(content["text"] for content in contents)
    return contents


def _content(part: Part) -> Item:
    match part:
        case Text(text=text):
            return {"type": "input_text", "text": text}
        case Image(url=url, detail=detail):
            return {"type": "input_image", "image_url": url, "detail": detail or "auto"}
        case File():
            given = {"file_data": part.data, "file_id": part.file_id, "filename": part.filename}
            return {"type": "input_file", **{name: value for name, value in given.items() if value is not None}}
        case Audio(data=data, format=form):
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
    raise BadRequest(f"The Responses API has no form for a part of type {type(part).__name__}.")
