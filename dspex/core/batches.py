"""Requests that a provider answers later, many at once and at a lower price."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from dspex.core.errors import LMError
from dspex.core.messages import LMRequest, LMResponse

BatchState = Literal["running", "ended", "failed", "cancelled"]


class BatchSpec(msgspec.Struct, frozen=True):
    """Requests by an id of 64 letters, digits, `-` and `_` at most; `key` tells this batch from every other."""

    requests: Mapping[str, LMRequest]
    key: str


class BatchStatus(msgspec.Struct, frozen=True):
    """How far a batch is; one that ended has results, at least for some of its requests, one that failed says why.

    `wait` is how many seconds to wait before asking again.
    """

    state: BatchState
    error: str = ""
    wait: float | None = None


BatchResults = Mapping[str, LMResponse | LMError]
