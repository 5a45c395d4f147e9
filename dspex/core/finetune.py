"""What a model is trained on, and how far its training is."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

import msgspec

TrainingState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[TrainingState] = frozenset({"succeeded", "failed", "cancelled"})


class FineTuneSpec(msgspec.Struct, frozen=True):
    """A training: rows in the form of `format`, and what its provider takes besides.

    "chat" rows are `{"messages": [...]}`, the reply wanted last; "completion" rows are `{"prompt": ..., "completion": ...}`. A
    provider is also given its own name of the `model`, and a `key` that tells this training from every other.
    """

    rows: tuple[Mapping[str, Any], ...]
    format: str = "chat"
    train_kwargs: Mapping[str, Any] = {}
    model: str = ""
    key: str = ""


class FineTuneStatus(msgspec.Struct, frozen=True):
    """How far a training is; one that succeeded names its `model`, one that failed says why.

    `usd` is what it has cost, if that is known, `wait` how many seconds to wait before asking again.
    """

    state: TrainingState
    model: str = ""
    error: str = ""
    usd: float | None = None
    wait: float | None = None


class LMRef(TypedDict):
    """A model by its name, as it stands in a candidate's `params["lm"]`: where it is and its key are those of the one before."""

    model: str
