"""What calls cost, and the walls around it."""

import math
from numbers import Real
from typing import Any, Literal

import msgspec

from dspex.core.errors import ConfigurationError


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens and money of one reply or of many; `estimated` marks counts that the provider did not give.

    Of the input's tokens `cached_tokens` were read from the provider's cache and `written_tokens` put there, which costs less, and
    more, than other input; `reasoning_tokens` are among the output's.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    calls: int = 0
    usd: float | None = None
    estimated: bool = False
    written_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def to_dict(self) -> dict[str, Any]:
        """The tokens under the keys of OpenAI and DSPy."""
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }

    def __add__(self, other: "Usage") -> "Usage":
        usd = None if self.usd is None and other.usd is None else (self.usd or 0.0) + (other.usd or 0.0)
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.calls + other.calls,
            usd,
            self.estimated or other.estimated,
            self.written_tokens + other.written_tokens,
        )


NOTHING = Usage()


class Budget(msgspec.Struct, frozen=True):
    """A wall around calls, tokens, US dollars or seconds; None means no limit in that unit.

    `on_short` says what a compile does when its estimate does not fit: "refuse" to start, "fit" its settings to
    the budget, or start and "stop" at the wall with the best program so far.
    Raises ConfigurationError for a limit that is no number, negative, or no whole number of calls or tokens.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None
    on_short: Literal["refuse", "stop", "fit"] = "refuse"

    def __post_init__(self) -> None:
        for unit in ("calls", "tokens", "usd", "seconds"):
            limit = getattr(self, unit)
            if limit is not None and (type(limit) is not int or limit < 0):
                msgspec.structs.force_setattr(self, unit, _limit(unit, limit))
        if self.on_short not in ("refuse", "stop", "fit"):
            raise ConfigurationError(f'Budget(on_short={self.on_short!r}): one of "refuse", "stop", "fit".')


def _limit(unit: str, limit: Any) -> float:
    """The limit as a plain number. Raises ConfigurationError for what is none."""
    is_whole = unit in ("calls", "tokens")
    is_number = type(limit) is not bool and issubclass(type(limit), Real) and 0 <= limit < math.inf
    if not is_number or (is_whole and limit != int(limit)):
        kind = "whole number" if is_whole else "number"
        raise ConfigurationError(
            f"Budget({unit}={limit!r:.80}): a limit is a {kind} from zero on, or None for no limit."
        )
    return int(limit) if is_whole else float(limit)
