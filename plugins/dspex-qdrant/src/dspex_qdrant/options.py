"""What a user may set, as keywords of `dspex.Retriever`."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from dspex.plugin import ConfigurationError

Name = Annotated[str, msgspec.Meta(pattern=r"^[^/\\<>:\"|?*\0\x1f]{1,255}$")]
MEMORY = ":memory:"


class QdrantOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Retriever("qdrant", ...)`.

    `collection` is made at the first `add` where it is not there, with scores by `distance`; one that is there keeps its own.
    `path`: a folder, or ":memory:", in the process instead of a server; it needs `dspex-qdrant[local]`. `text` and `metadata` are
    the keys of a point's payload that hold a passage's.
    """

    collection: Name = "dspex"
    path: str | None = None
    distance: Literal["Cosine", "Dot", "Euclid", "Manhattan"] = "Cosine"
    text: str = "text"
    metadata: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+$")] = "metadata"


def read_options(given: Mapping[str, Any]) -> QdrantOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}
    try:
        return msgspec.convert(plain, QdrantOptions)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the qdrant retriever is wrong: {error}") from error
