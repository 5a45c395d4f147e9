"""What OpenAI's models can do, by name; a model that is not listed can do what it turns out to do."""

import re
from typing import Any

import msgspec

from dspex.plugin import Capabilities

_CHAT = Capabilities(
    chat=True,
    stream=True,
    n=True,
    json_schema=True,
    tools=True,
    logprobs=True,
    grammar=False,
    images=True,
    reasoning=False,
    max_output_tokens=16_384,
)
_REASONING = Capabilities(
    chat=True,
    stream=True,
    json_schema=True,
    tools=True,
    logprobs=False,
    grammar=False,
    images=True,
    reasoning=True,
    max_output_tokens=100_000,
)

# The first pattern that the whole name fits. `n` stays unknown where models think first: then each is a call of its own.
_KNOWN: tuple[tuple[str, Capabilities, dict[str, Any]], ...] = (
    (r"gpt-3\.5-turbo.*", _CHAT, {"json_schema": False, "images": False, "max_output_tokens": 4_096}),
    (r"gpt-4-turbo.*", _CHAT, {"json_schema": False, "max_output_tokens": 4_096}),
    (r"gpt-4o-2024-05-13", _CHAT, {"json_schema": False, "max_output_tokens": 4_096}),
    (r"gpt-4o(-mini)?(-20\d\d-\d\d-\d\d)?", _CHAT, {}),
    (r"gpt-4\.1(-mini|-nano)?(-20\d\d-\d\d-\d\d)?", _CHAT, {"max_output_tokens": 32_768}),
    (r"gpt-5(\.\d)?(-mini|-nano)?(-20\d\d-\d\d-\d\d)?", _REASONING, {"max_output_tokens": 128_000}),
    (r"o3-mini.*", _REASONING, {"images": False}),
    (r"(o1|o3|o4-mini)(-20\d\d-\d\d-\d\d)?", _REASONING, {}),
)

# They take max_completion_tokens only: what they think counts too.
_THINKS_FIRST = r"o\d|gpt-[5-9]"


def known_capabilities(model: str) -> Capabilities | None:
    """What a model of OpenAI's own can do, or None for one that is not known here."""
    for pattern, base, changes in _KNOWN:
        if re.fullmatch(pattern, model):
            return msgspec.structs.replace(base, **changes)
    return None


def thinks_first(model: str) -> bool:
    """Whether a model is of a family that reasons before it answers, also behind a gateway's prefix (`openai/o3`)."""
    return re.match(_THINKS_FIRST, model.rpartition("/")[2]) is not None
