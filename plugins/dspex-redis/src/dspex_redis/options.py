"""Where the server is, and how replies are kept there."""

import os
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from dspex.plugin import ConfigurationError

ADDRESS = "redis://localhost:6379/0"
VARIABLES = ("DSPEX_REDIS_URL", "REDIS_URL")
SCHEMES = ("redis", "rediss", "unix")

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class RedisOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How replies are kept.

    `url` is `redis://[[user]:password@]host:port/db`, `rediss://...` with TLS, or `unix://path`; without it DSPEX_REDIS_URL
    or REDIS_URL, else localhost. Keys begin with `prefix`; `ttl` is the life of an entry in seconds, None for as long as the
    server keeps it (its `maxmemory-policy`). A call waits `patience` seconds for the server, to connect included; a
    reply of more than `max_bytes` is not kept; a loop has `connections` at most.
    """

    url: str | None = None
    prefix: str = "dspex:"
    ttl: Seconds | None = None
    patience: Seconds = 0.25
    max_bytes: Annotated[int, msgspec.Meta(ge=1)] = 16 << 20
    connections: Annotated[int, msgspec.Meta(ge=1)] = 32

    def __repr__(self) -> str:
        return f"RedisOptions(url={shown(self.url or ADDRESS)!r}, prefix={self.prefix!r}, ttl={self.ttl!r})"


def resolve(given: RedisOptions | Mapping[str, Any] | None) -> RedisOptions:
    """Options in any of the forms in which they arrive, with their address. Raises ConfigurationError that names the wrong one."""
    fields = msgspec.structs.asdict(given) if isinstance(given, RedisOptions) else dict(given or {})
    try:
        options = msgspec.convert(fields, RedisOptions)
    except msgspec.ValidationError as error:
        known = ", ".join(RedisOptions.__struct_fields__)
        raise ConfigurationError(f"A Redis cache cannot be made so: {error}. Known options: {known}.") from error
    url = options.url or next(filter(None, map(os.environ.get, VARIABLES)), None) or ADDRESS
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in SCHEMES or not _has_port(url):
        raise ConfigurationError(
            f"url={shown(url)!r} is no address of a Redis server: it looks like {ADDRESS}, rediss://host:port/db or unix:///path."
        )
    return msgspec.structs.replace(options, url=url)


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0  # None for the usual one
    except ValueError:
        return False


def shown(url: str) -> str:
    """An address without its password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
