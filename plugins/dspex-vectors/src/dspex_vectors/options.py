"""What a user may set about an index, as keywords of `dspex.Retriever`."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from dspex.plugin import ConfigurationError


class VectorsOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Retriever("vectors", ...)`.

    `collection` tells indices apart: handles of one App with equal options and one embedder share one. `path`: a folder that
    `save` has written, which is opened if it is there. `normalize`: vectors are brought to length 1, so that scores are
    cosines. `approximate_from`: from so many passages on a graph finds the candidates, if usearch is installed; None: never.
    `memory_map`: what is opened stays on disk, and is read as it is needed.
    """

    collection: str = "default"
    path: str | None = None
    normalize: bool = True
    approximate_from: Annotated[int, msgspec.Meta(ge=1)] | None = 200_000
    memory_map: bool = True


def read_options(given: Mapping[str, Any]) -> VectorsOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}
    try:
        return msgspec.convert(plain, VectorsOptions)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the vectors retriever is wrong: {error}") from error
