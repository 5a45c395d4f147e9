"""A reply's schema as the parameters of one function that has to be called, for models that can call but not keep to a schema."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.core.endpoint import Capabilities
from dspex.core.messages import Choice, LMDelta, LMRequest, LMResponse

_NAME = "give_reply"
_CHOICE: Mapping[str, Any] = MappingProxyType({"type": "function", "function": {"name": _NAME}})


def goes_by_function(capabilities: Capabilities) -> bool:
    """Whether a model is known to call functions, and not to keep to a schema of its own accord."""
    return bool(capabilities.tools) and not capabilities.json_schema


def held(request: LMRequest, schema: Mapping[str, Any] | None, capabilities: Capabilities) -> LMRequest:
    """The request with a schema that the reply is held to, in the way that the model has."""
    if schema is None or not goes_by_function(capabilities):
        return msgspec.structs.replace(request, schema=schema)
    function = {"name": _NAME, "description": "Gives the reply.", "parameters": schema}
    return msgspec.structs.replace(
        request,
        tools=({"type": "function", "function": function},),
        params={**request.params, "tool_choice": dict(_CHOICE)},
    )


def spoken(request: LMRequest, reply: LMResponse) -> LMResponse:
    """A reply whose text is what the function was called with, if it had to be called."""
    if not is_by_function(request):
        return reply
    return msgspec.structs.replace(reply, choices=tuple(map(_spoken, reply.choices)))


def is_by_function(request: LMRequest) -> bool:
    """Whether the reply has to be a call of the one function."""
    return bool(request.params.get("tool_choice") == _CHOICE)


def spoken_piece(delta: LMDelta) -> LMDelta:
    """A piece of such a reply: what comes of the function's arguments is its text."""
    told = "".join(piece.arguments for piece in delta.tool_call_pieces)
    return msgspec.structs.replace(delta, text=told, tool_call_pieces=()) if told else delta


def _spoken(choice: Choice) -> Choice:
    told = next((call.arguments for call in choice.tool_calls if call.name == _NAME), choice.text)
    return msgspec.structs.replace(choice, text=told, tool_calls=())
