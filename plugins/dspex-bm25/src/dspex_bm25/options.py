"""What a user may set about an index, as keywords of `dspex.Retriever`."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from dspex.plugin import ConfigurationError


class BM25Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Retriever("bm25", ...)`.

    `collection` tells indices apart: handles of one App with equal options share one. `path`: a folder that `save` has
    written, which is opened if it is there. `k1` and `b` as in the literature, `method` a variant of bm25s. `stopwords`: words
    that are left out. `memory_map`: the opened index stays on disk, and is read as it is needed.
    """

    collection: str = "default"
    path: str | None = None
    k1: Annotated[float, msgspec.Meta(ge=0)] = 1.5
    b: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.75
    method: Literal["lucene", "robertson", "atire"] = "lucene"
    stopwords: tuple[str, ...] = ()
    memory_map: bool = True


def read_options(given: Mapping[str, Any]) -> BM25Options:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}
    try:
        return msgspec.convert(plain, BM25Options)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the bm25 retriever is wrong: {error}") from error
