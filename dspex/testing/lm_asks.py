"""What the kits for providers ask a model for: one request for each thing that a provider may not be able to do."""

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.core.messages import Audio, File, Image, LMRequest, Message, Part, Text

_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
_PAPER = "JVBERi0xLjEKJcKlwrHDqwo="
_SOUND = "UklGRiQAAABXQVZFZm10IA=="


class Ask(msgspec.Struct, frozen=True):
    """A request for one thing; `sent` are words that a wire cannot do without where it carries that thing."""

    sent: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    params: Mapping[str, Any] = {}
    tools: tuple[Mapping[str, Any], ...] = ()
    schema: Mapping[str, Any] | None = None

    def request(self, model: str, question: str) -> LMRequest:
        """The request, of one user's turn."""
        turn = Message("user", (Text(question), *self.parts))
        # Of its own: what one provider does to it must reach no other test.
        return copy.deepcopy(LMRequest(model, (turn,), {**self.params}, self.tools, self.schema))


# By the name of the capability, or of the parameter where it is one of its own.
ASKS: Mapping[str, Ask] = MappingProxyType(
    {
        "temperature": Ask(("0.25",), params={"temperature": 0.25}),
        "top_p": Ask(("0.375",), params={"top_p": 0.375}),
        "max_tokens": Ask(("17",), params={"max_tokens": 17}),
        "stop": Ask(("#end#",), params={"stop": ["#end#"]}),
        "seed": Ask(("424242",), params={"seed": 424_242}),
        "frequency_penalty": Ask(("0.125",), params={"frequency_penalty": 0.125}),
        "presence_penalty": Ask(("0.625",), params={"presence_penalty": 0.625}),
        "logit_bias": Ask(("7777",), params={"logit_bias": {"7777": -1}}),
        "logprobs": Ask(("logprobs",), params={"logprobs": True}),
        "grammar": Ask(("root ::=",), params={"grammar": 'root ::= "yes" | "no"'}),
        "reasoning": Ask(params={"reasoning_effort": "low"}),
        "tools": Ask(
            ("find_capital", "Finds the capital", "country"),
            tools=(
                {
                    "name": "find_capital",
                    "description": "Finds the capital of a country.",
                    "parameters": {
                        "type": "object",
                        "properties": {"country": {"type": "string"}},
                        "required": ["country"],
                    },
                },
            ),
        ),
        "json_schema": Ask(
            ("capital_city",),
            schema={
                "title": "Reply",
                "type": "object",
                "properties": {"capital_city": {"type": "string"}},
                "required": ["capital_city"],
                "additionalProperties": False,
            },
        ),
        "images": Ask((_PIXEL,), parts=(Image(f"data:image/png;base64,{_PIXEL}"),)),
        "audio": Ask((_SOUND,), parts=(Audio(_SOUND, "wav"),)),
        "files": Ask((_PAPER,), parts=(File(f"data:application/pdf;base64,{_PAPER}", None, "paper.pdf"),)),
    }
)
