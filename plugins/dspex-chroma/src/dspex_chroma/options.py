"""What a user may set, as keywords of `dspex.Retriever`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from dspex.plugin import ConfigurationError

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,510}[A-Za-z0-9]$")]


class ChromaOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Retriever("chroma", ...)`.

    `collection` is made where it is not there, with distances by `space`; one that is there keeps its own.
    """

    collection: Name = "dspex"
    tenant: str = "default_tenant"
    database: str = "default_database"
    space: Literal["cosine", "ip", "l2"] = "cosine"


def read_options(given: Mapping[str, Any]) -> ChromaOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value."""
    try:
        return msgspec.convert(dict(given), ChromaOptions)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"An option of the chroma retriever is wrong: {error}") from error
