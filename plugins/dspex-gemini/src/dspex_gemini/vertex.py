"""Vertex AI: the same models at Google Cloud, in a project and a location, for who shows a token of Google's."""

import asyncio
import os
from datetime import UTC
from typing import Any
from urllib.parse import quote

import msgspec

from dspex.plugin import (
    AuthError,
    BearerHttp,
    BearerTokens,
    ConfigurationError,
    Endpoint,
    HttpClient,
    Secret,
    Token,
    tokens_by,
)
from dspex_gemini.options import GeminiOptions, VertexEmbedderOptions, VertexOptions, read_options
from dspex_gemini.provider import GeminiProvider
from dspex_gemini.vertex_embedder import VertexEmbedder

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
PROJECT_FROM = ("GOOGLE_CLOUD_PROJECT", "VERTEXAI_PROJECT")
LOCATION_FROM = ("GOOGLE_CLOUD_LOCATION", "VERTEXAI_LOCATION")


def make_lm(endpoint: Endpoint, http: HttpClient) -> GeminiProvider:
    """The provider of a model of Google's at Vertex AI."""
    options = read_options(endpoint.options, VertexOptions)
    ours = {name: getattr(options, name) for name in GeminiOptions.__struct_fields__}
    placed = _placed(endpoint, options, ours)
    return GeminiProvider(placed, Login(options.token).http(placed, http))


def make_embedder(endpoint: Endpoint, http: HttpClient) -> VertexEmbedder:
    """The embedder of a model of Google's at Vertex AI."""
    options = read_options(endpoint.options, VertexEmbedderOptions)
    placed = _placed(endpoint, options, {})
    return VertexEmbedder(placed, Login(options.token).http(placed, http), options)


class Login:
    """Who asks: what `token=` names, else what Google's own search for credentials finds, in a thread and when it is first needed."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._found: Any = None

    def http(self, endpoint: Endpoint, http: HttpClient) -> HttpClient:
        """A client that shows who asks; with a key of Vertex AI's there is nothing to add."""
        if endpoint.api_key is not None:
            return http
        return BearerHttp(http, BearerTokens(self._ask if self._token is None else tokens_by(self._token)))

    async def _ask(self) -> Token:
        return await asyncio.to_thread(self._refreshed)

    def _refreshed(self) -> Token:
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.requests import Request

        credentials = self._credentials()
        try:
            credentials.refresh(Request())
        except TransportError as error:
            raise AuthError(
                f"Google's tokens cannot be had just now: {type(error).__name__}.", retryable=True
            ) from error
        except GoogleAuthError as error:
            raise AuthError(f"Google gives no token: {error}") from error
        end = credentials.expiry
        ends_at = None if end is None else end.replace(tzinfo=UTC).timestamp()
        return Token(Secret(credentials.token, "Google's credentials"), ends_at)

    def _credentials(self) -> Any:
        if self._found is None:
            try:
                import google.auth
            except ImportError as error:
                raise ConfigurationError(
                    "vertex_ai finds Google's credentials by google-auth: pip install 'dspex-gemini[vertex]', or pass "
                    "token='package.module:function'."
                ) from error
            try:
                self._found, _ = google.auth.default(scopes=SCOPES)
            except google.auth.exceptions.GoogleAuthError as error:
                raise AuthError(f"Google's credentials cannot be found: {error}") from error
        return self._found


def _placed(endpoint: Endpoint, options: VertexOptions | VertexEmbedderOptions, ours: dict[str, Any]) -> Endpoint:
    location = options.location or _first(LOCATION_FROM) or "global"
    host = "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
    base = (endpoint.base_url or f"https://{host}/v1").rstrip("/")
    keyed = endpoint.api_key is not None
    project = options.project or _first(PROJECT_FROM)
    if project is None and not keyed:
        raise ConfigurationError(
            "vertex_ai: name the project, as dspex.LM(..., project='my-project'), or in GOOGLE_CLOUD_PROJECT."
        )
    # A key of Vertex AI's knows its project itself.
    within = "" if project is None else f"/projects/{quote(project, safe='')}/locations/{quote(location, safe='')}"
    return msgspec.structs.replace(endpoint, base_url=f"{base}{within}/publishers/google", options=ours)


def _first(names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(os.environ.get, names)), None)
