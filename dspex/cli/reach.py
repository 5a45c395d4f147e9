"""Whether endpoints answer: one GET without a key at each address, which asks no model and costs nothing."""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from dspex.core.endpoint import Endpoint
from dspex.core.errors import ConfigurationError, LMError
from dspex.plugin.fence import fenced
from dspex.plugin.manager import BACKEND_LIMIT_S, PluginManager
from dspex.plugin.spec import Spec
from dspex.service.http import HttpService

LIMIT_S = 10.0
KINDS = ("lm_providers", "embedders")


def addresses(manager: PluginManager, urls: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Names and addresses: those that installed providers call by themselves, and `urls`; each address once."""
    known: set[str] = set()
    for spec in (one for kind in KINDS for one in manager.specs(kind)):
        found: list[str] = []
        fenced(partial(_address, spec, found), BACKEND_LIMIT_S)
        for url in set(found) - known:
            known.add(url)
            yield spec.name, url
    yield from (("--url", url) for url in urls if url not in known)


def _address(spec: Spec, into: list[str]) -> None:
    endpoint = Endpoint(spec.name, "doctor", None, None)
    made: Any = spec.load()(endpoint, HttpService(endpoint))
    url = getattr(made, "base_url", None)
    if isinstance(url, str) and url:
        into.append(url)


def reached(urls: Iterable[str]) -> list[str]:
    """For each address why it cannot be reached, or nothing; all at once. Any answer by HTTP is one."""

    async def main() -> list[str]:
        return list(await asyncio.gather(*map(_reached, urls)))

    return asyncio.run(main())


async def _reached(url: str) -> str:
    try:
        client = HttpService(Endpoint("doctor", "", url, None))
    except ConfigurationError as error:
        return str(error)
    try:
        async with asyncio.timeout(LIMIT_S):
            await client.request("GET", "")
    except TimeoutError as error:
        return str(error) if isinstance(error, LMError) else f"no answer within {LIMIT_S:g} s"
    except LMError as error:
        return "" if error.status is not None else str(error)
    finally:
        await client.aclose()
    return ""
