"""Completions in the form that DSPy's programs and histories use."""

from typing import Any

import msgspec

from dspex.core.messages import Choice, LMResponse


def completions(reply: LMResponse) -> list[Any]:
    """What a call of an LM gives back: each completion's text, a dictionary where it has more than text."""
    return [_output(choice) for choice in reply.choices]


def _output(choice: Choice) -> Any:
    if not (choice.tool_calls or choice.reasoning or choice.logprobs):
        return choice.text
    more = {
        "reasoning_content": choice.reasoning,
        "tool_calls": [msgspec.to_builtins(call) for call in choice.tool_calls],
        "logprobs": choice.logprobs,
    }
    return {"text": choice.text, **{name: value for name, value in more.items() if value}}
