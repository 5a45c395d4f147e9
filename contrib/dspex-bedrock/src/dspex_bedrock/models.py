"""What models at Bedrock can do, by name; a model that is not listed can do what it turns out to do."""

import re

import msgspec

from dspex.plugin import Capabilities

_SERVED = Capabilities(chat=True, stream=True, n=False, json_schema=True, logprobs=False, grammar=False, batch=False)

# The first pattern that is found in a name, which may have a region before it, or be an inference profile's.
_KNOWN: tuple[tuple[str, dict[str, bool]], ...] = (
    (r"anthropic\.claude-(3|opus|sonnet|haiku)", {"tools": True, "images": True}),
    (r"amazon\.nova-micro", {"tools": True, "images": False, "reasoning": False}),
    (r"amazon\.nova-(lite|pro|premier)-v1", {"tools": True, "images": True, "reasoning": False}),
    (r"amazon\.titan-text|meta\.llama[23]-\d+b|ai21\.j2", {"tools": False, "images": False, "reasoning": False}),
    (r"meta\.llama3-(1|3)-", {"tools": True, "images": False, "reasoning": False}),
    (r"meta\.llama3-2-(11|90)b", {"tools": True, "images": True, "reasoning": False}),
    (r"meta\.llama4-", {"tools": True, "images": True, "reasoning": False}),
    (r"mistral\.mistral-large", {"tools": True, "images": False, "reasoning": False}),
    (r"deepseek\.r1", {"tools": False, "images": False, "reasoning": True}),
)


def capabilities_of(model: str) -> Capabilities:
    """What is known of a model."""
    found = next((known for pattern, known in _KNOWN if re.search(pattern, model)), {})
    return msgspec.structs.replace(_SERVED, **found)
