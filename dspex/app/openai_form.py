"""Completions in the form that DSPy's programs and histories use."""

from typing import Any

import msgspec

from dspex.core.dictionaries import to_dictionaries
from dspex.core.messages import Choice, LMRequest, LMResponse


def completions(reply: LMResponse) -> list[Any]:
    """What a call of an LM gives back: each completion's text, a dictionary where it has more than text."""
    return [_output(choice) for choice in reply.choices]


def asked(request: LMRequest) -> dict[str, Any]:
    """A request by the arguments of an LM's call, its parameters also together as `kwargs`; the request itself is there too."""
    messages = [one for message in request.messages for one in to_dictionaries(message)]
    many = {"n": request.n} if request.n > 1 else {}
    tools = {"tools": list(request.tools)} if request.tools else {}
    given = {**many, **tools, **request.params}
    return {"prompt": None, "messages": messages, **given, "kwargs": given, "request": request}


def _output(choice: Choice) -> Any:
    if not (choice.tool_calls or choice.reasoning or choice.logprobs):
        return choice.text
    more = {
        "reasoning_content": choice.reasoning,
        "tool_calls": [msgspec.to_builtins(call) for call in choice.tool_calls],
        "logprobs": choice.logprobs,
        "thoughts": [{"data": thought.data, "maker": thought.maker} for thought in choice.thoughts],
    }
    return {"text": choice.text, **{name: value for name, value in more.items() if value}}
