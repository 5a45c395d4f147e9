"""What Anthropic's models can do, by name; a model that is not listed can do what it turns out to do."""

import re
from typing import Literal

import msgspec

from dspex.plugin import Capabilities

DEFAULT_MAX_TOKENS = 4_096


class Traits(msgspec.Struct, frozen=True):
    """What a request must know of a model.

    `thinking`: how it is asked to think first: never, within a `budget` of tokens, or as it sees fit (`adaptive`); None:
    unknown. `thinks_unasked`: it does so by default. `formats`: the API holds its replies to a JSON schema. `samples`: it
    lets others say how to draw its tokens.
    """

    max_output: int = DEFAULT_MAX_TOKENS
    thinking: Literal["never", "budget", "adaptive"] | None = None
    thinks_unasked: bool = False
    formats: bool = False
    samples: bool = True


UNKNOWN = Traits()
_DATE = r"(-20\d{6}|-latest)?"

# The first pattern that the whole name fits. Limits that Anthropic raised since are the lower, which it still takes.
_KNOWN: tuple[tuple[str, Traits], ...] = (
    (rf"claude-3-(haiku|sonnet|opus){_DATE}", Traits(4_096, "never")),
    (rf"claude-3-5-(haiku|sonnet){_DATE}", Traits(8_192, "never")),
    (rf"claude-3-7-sonnet{_DATE}", Traits(64_000, "budget")),
    (rf"claude-opus-4(-0|-1)?{_DATE}", Traits(32_000, "budget")),
    (rf"claude-sonnet-4(-0)?{_DATE}", Traits(64_000, "budget")),
    (rf"claude-(opus|sonnet|haiku)-4-5{_DATE}", Traits(64_000, "budget", formats=True)),
    (rf"claude-sonnet-4-6{_DATE}", Traits(64_000, "adaptive", formats=True)),
    (rf"claude-opus-4-6{_DATE}", Traits(128_000, "adaptive", formats=True)),
    (rf"claude-opus-4-[7-9]{_DATE}", Traits(128_000, "adaptive", formats=True, samples=False)),
    (rf"claude-(opus|sonnet|fable|mythos)-5(-\d)?{_DATE}", Traits(128_000, "adaptive", True, True, False)),
)


def traits_of(model: str) -> Traits:
    """What is known of a model, `UNKNOWN` for one that is not listed."""
    return next((traits for pattern, traits in _KNOWN if re.fullmatch(pattern, model)), UNKNOWN)


def capabilities_of(traits: Traits, *, thinks: bool) -> Capabilities:
    """The same as capabilities; whether it reasons stays open where a request may still ask for that."""
    known = traits is not UNKNOWN
    return Capabilities(
        chat=True,
        stream=True,
        n=False,
        json_schema=True,
        tools=True,
        logprobs=False,
        grammar=False,
        images=True if known else None,
        reasoning=True if thinks else False if traits.thinking == "never" else None,
        batch=True,
        max_output_tokens=traits.max_output if known else None,
    )
