"""What a user may set, as keywords of `dspex.Retriever`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from dspex.plugin import ConfigurationError


class PgvectorOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keywords of `dspex.Retriever("pgvector", ...)`.

    `dsn`: where the database is, without a password, which is `api_key`. `collection`: the table, made at the first `add` where it
    is not there. `distance`: how nearness is measured. `connections`: at most so many at a time.
    """

    dsn: str
    collection: Annotated[str, msgspec.Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = "dspex"
    distance: Literal["cosine", "l2", "dot"] = "cosine"
    connections: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10


def read_options(given: Mapping[str, Any]) -> PgvectorOptions:
    """The options of an endpoint. Raises ConfigurationError for a wrong value, and for a password where it would be shown."""
    try:
        options = msgspec.convert(dict(given), PgvectorOptions)
        parts = urlsplit(options.dsn)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigurationError(f"An option of the pgvector retriever is wrong: {error}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigurationError("dsn= looks like postgresql://user@host:5432/database.")
    if parts.password or "password=" in parts.query:
        raise ConfigurationError("dsn= holds a password, and would be shown: leave it out, and pass it as api_key=.")
    return options
