"""What Gemini models can do, by name; a model that is not listed can do what it turns out to do."""

import re
from typing import Literal

import msgspec

from dspex.plugin import Capabilities


class Traits(msgspec.Struct, frozen=True):
    """What a request must know of a model.

    `thinking`: how it is told how much to think: not at all, by a `budget` of tokens, by a `level`; None: unknown.
    `reads_json_schema`: else it reads OpenAPI's schemas only. `formats_with_tools`: a reply may be held to a schema where
    tools are offered. `signs_calls`: it wants the signature of its thoughts back with a call of a tool.
    """

    max_output: int | None = None
    thinking: Literal["never", "budget", "level"] | None = None
    reads_json_schema: bool = True
    formats_with_tools: bool = True
    signs_calls: bool = False


UNKNOWN = Traits()
_VERSION = r"(-latest|-\d{3}|-exp.*|-preview.*)?"

# The first pattern that the whole name fits.
_KNOWN: tuple[tuple[str, Traits], ...] = (
    (rf"gemini-1\.5-(pro|flash|flash-8b){_VERSION}", Traits(8_192, "never", False, False)),
    (rf"gemini-2\.0-(flash|flash-lite){_VERSION}", Traits(8_192, "never", False, False)),
    (rf"gemini-2\.5-(pro|flash|flash-lite){_VERSION}", Traits(65_536, "budget", formats_with_tools=False)),
    (rf"gemini-3(\.\d)?-(pro|flash|flash-lite){_VERSION}", Traits(65_536, "level", signs_calls=True)),
)


def traits_of(model: str) -> Traits:
    """What is known of a model, `UNKNOWN` for one that is not listed."""
    name = model.removeprefix("models/")
    return next((traits for pattern, traits in _KNOWN if re.fullmatch(pattern, name)), UNKNOWN)


def capabilities_of(traits: Traits, *, several: bool | None) -> Capabilities:
    """The same as capabilities. Log-probabilities are switched on for some models and some accounts only."""
    known = traits is not UNKNOWN
    return Capabilities(
        batch=False,
        chat=True,
        stream=True,
        n=several,
        json_schema=True,
        tools=True if known else None,
        grammar=False,
        images=True if known else None,
        reasoning=None if traits.thinking is None else traits.thinking != "never",
        max_output_tokens=traits.max_output,
    )
