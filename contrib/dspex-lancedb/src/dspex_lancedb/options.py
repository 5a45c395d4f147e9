"""What a user may set, as keywords of `dspex.Retriever`."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from dspex.plugin import ConfigurationError


class LanceOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Retriever("lancedb", ...)`.

    `path`: a folder, or the address of a bucket as LanceDB takes it. `collection`: the table, made at the first `add` where it is
    not there. `distance`: how nearness is measured.
    """

    path: str
    collection: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,255}$")] = "dspex"
    distance: Literal["cosine", "l2", "dot"] = "cosine"


def read_options(given: Mapping[str, Any]) -> LanceOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}
    try:
        return msgspec.convert(plain, LanceOptions)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the lancedb retriever is wrong: {error}") from error
