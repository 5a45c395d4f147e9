"""A cache for dspex in Redis, for programs of many processes and machines."""

from dspex.plugin import Spec, hookimpl

__all__ = ["dspex_caches"]


@hookimpl
def dspex_caches() -> list[Spec]:
    """The backend."""
    return [Spec("redis", "dspex_redis.cache:RedisCache", "A Redis server that processes and machines share")]
