"""Where a provider's calls go, and what it can do there."""

from collections.abc import Mapping
from typing import Any

import msgspec

from dspex.core.secret import Secret


class Endpoint(msgspec.Struct, frozen=True, eq=False):
    """One model behind one provider; made from an LM's keywords, given to the provider's factory."""

    provider: str
    model: str
    base_url: str | None = None
    api_key: Secret | None = None
    headers: Mapping[str, str] = {}
    options: Mapping[str, Any] = {}


class Capabilities(msgspec.Struct, frozen=True):
    """What a model behind an endpoint can do; None means unknown.

    `chat` False marks a completion model that takes plain prompts; `prefix_slots` is the number of parallel slots
    that keep a prompt's prefix warm, `top_logprobs` the most tokens that are shown with their log-probabilities.
    """

    chat: bool | None = None
    stream: bool | None = None
    n: bool | None = None
    json_schema: bool | None = None
    tools: bool | None = None
    logprobs: bool | None = None
    grammar: bool | None = None
    images: bool | None = None
    reasoning: bool | None = None
    batch: bool | None = None
    prefix_slots: int | None = None
    max_concurrency: int | None = None
    max_output_tokens: int | None = None
    top_logprobs: int | None = None
