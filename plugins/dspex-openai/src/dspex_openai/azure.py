"""Azure's ways: its addresses, and the header that its keys travel in, around any HttpClient."""

import os
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import quote, urlencode

from dspex.plugin import (
    BearerHttp,
    ConfigurationError,
    Endpoint,
    Headers,
    HttpClient,
    HttpReply,
    MakeFraming,
    ServerEvent,
)
from dspex_openai.entra import make_tokens

BASE_FROM = ("AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT")
_OF_DEPLOYMENTS = r"\d{4}-\d{2}-\d{2}.*"
_WITH_MODEL = ("chat/completions", "completions", "embeddings")


class AzurePlace:
    """Where a deployment is: below `/openai/v1`, or by a dated version of the API below `/openai/deployments/NAME`."""

    def __init__(self, endpoint: Endpoint, api_version: str | None) -> None:
        given = endpoint.base_url or next(filter(None, map(os.environ.get, BASE_FROM)), None)
        if given is None:
            raise ConfigurationError(
                "azure: say where your resource is, as api_base='https://NAME.openai.azure.com' or in AZURE_API_BASE."
            )
        version = api_version or os.environ.get("AZURE_API_VERSION")
        self._is_dated = version is not None and re.fullmatch(_OF_DEPLOYMENTS, version) is not None
        self._query = "" if version is None else f"?{urlencode({'api-version': version})}"
        self._deployment = quote(endpoint.model, safe="")
        self.base_url = re.sub(r"/openai(/v1)?$", "", given.rstrip("/"))

    def url(self, path: str) -> str:
        """The address of a path of OpenAI's API."""
        if not self._is_dated:
            return f"{self.base_url}/openai/v1/{path}{self._query}"
        named = f"deployments/{self._deployment}/{path}" if path in _WITH_MODEL else path
        return f"{self.base_url}/openai/{named}{self._query}"


class AzureHttp:
    """An HttpClient to which a provider of OpenAI's API may speak as to OpenAI, at `base`.

    With `token` a token from there is shown in place of the key.
    """

    def __init__(
        self, http: HttpClient, place: AzurePlace, endpoint: Endpoint, base: str, token: str | None = None
    ) -> None:
        self._http = http if token is None else BearerHttp(http, make_tokens(token, http))
        self._place = place
        self._base = f"{base}/"
        key = None if token is not None else endpoint.api_key
        self._headers = Headers({} if key is None else {"api-key": key.reveal()})

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        is_final: bool = False,
    ) -> HttpReply:
        """One request. What the provider would show of its key is not sent."""
        url, ours = self._place.url(path.removeprefix(self._base)), self._headers
        if "content-type" in headers:
            ours = Headers({**ours, "content-type": headers["content-type"]})
        return await self._http.request(method, url, json=json, body=body, headers=ours, is_final=is_final)

    async def events(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        framings: Mapping[str, MakeFraming] = {},
    ) -> AsyncGenerator[ServerEvent, None]:
        """As `request`, in pieces."""
        url = self._place.url(path.removeprefix(self._base))
        coming = self._http.events(method, url, json=json, body=body, headers=self._headers, framings=framings)
        async with aclosing(coming) as events:
            async for event in events:
                yield event
