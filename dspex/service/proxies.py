"""The proxy that the environment names for an address, as most clients understand it."""

import os
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dspex.core.errors import ConfigurationError

if TYPE_CHECKING:
    from yarl import URL

NO_PROXY: Mapping[str, Any] = MappingProxyType({})


def proxied(url: "URL") -> Mapping[str, Any]:
    """What aiohttp must be told to reach `url`: the proxy of HTTPS_PROXY or HTTP_PROXY, by the address's scheme, else of ALL_PROXY.

    Empty where there is none, where NO_PROXY has the host, and for this machine itself. Raises ConfigurationError for a proxy that is
    reached otherwise than by http.
    """
    if not any(name.lower().endswith("_proxy") for name in os.environ) or _is_here(url.host or ""):
        return NO_PROXY
    from urllib.request import getproxies_environment, proxy_bypass

    known = getproxies_environment()
    named = known.get(url.scheme) or known.get("all")
    if not named or proxy_bypass(url.authority):
        return NO_PROXY
    return _ways(named, url.scheme)


def _ways(named: str, scheme: str) -> Mapping[str, Any]:
    from yarl import URL

    try:
        proxy = URL(named if "://" in named else f"http://{named}")
    except ValueError:
        proxy = URL()
    if proxy.scheme != "http" or not proxy.host:
        raise ConfigurationError(
            f"The proxy that {scheme.upper()}_PROXY or ALL_PROXY names cannot be used: it looks like http://host:port, and "
            f"{proxy.scheme or 'that'!r} is none that is spoken here. NO_PROXY=host leaves it out."
        )
    if proxy.user is None:
        return {"proxy": proxy}
    shown = b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
    # aiohttp makes it Proxy-Authorization, and shows it to nobody behind the proxy.
    return {"proxy": proxy.with_user(None), "proxy_headers": {"Authorization": f"Basic {shown}"}}


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
