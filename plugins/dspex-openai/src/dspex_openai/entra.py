"""Microsoft Entra's tokens for Azure: of an application, by its secret or by the token that its platform puts into a file."""

import asyncio
import os
import time
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from dspex.plugin import (
    AuthError,
    BadRequest,
    BearerTokens,
    ConfigurationError,
    Headers,
    HttpClient,
    ProtocolError,
    Secret,
    Token,
    decode_json,
    tokens_by,
)

AUTHORITY = "https://login.microsoftonline.com"
SCOPE = "https://cognitiveservices.azure.com/.default"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FORM = Headers({"content-type": "application/x-www-form-urlencoded"})


class WireToken(msgspec.Struct):
    """A token, good for so many seconds."""

    access_token: str | None = None
    expires_in: int | str | None = None


class Entra:
    """Asks for the token of the application that the environment names, as Azure's own tools do.

    AZURE_TENANT_ID and AZURE_CLIENT_ID, with AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE; AZURE_AUTHORITY_HOST for clouds of
    their own. Raises ConfigurationError for what is missing.
    """

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        tenant, self._client = _named("AZURE_TENANT_ID"), _named("AZURE_CLIENT_ID")
        host = (os.environ.get("AZURE_AUTHORITY_HOST") or AUTHORITY).rstrip("/")
        self._url = f"{host}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        secret = os.environ.get("AZURE_CLIENT_SECRET")
        self._secret = Secret(secret, "the environment variable AZURE_CLIENT_SECRET") if secret else None
        self._file = None if secret else Path(_named("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_SECRET"))

    async def ask(self) -> Token:
        """A new token. Raises AuthError where Entra refuses, and LMError classes."""
        form = {"grant_type": "client_credentials", "client_id": self._client, "scope": SCOPE, **await self._proof()}
        try:
            reply = await self._http.request("POST", self._url, body=urlencode(form).encode(), headers=_FORM)
        except (AuthError, BadRequest) as error:
            refused = error.message
        else:
            found = decode_json(reply.body, WireToken)
            if found.access_token is None:
                raise ProtocolError("Microsoft Entra's reply holds no token.", code="retry_once")
            return Token(Secret(found.access_token, "Microsoft Entra"), _end(found.expires_in))
        raise AuthError(
            f"Microsoft Entra gives the application {self._client} no token: {self._shown(refused)} See AZURE_TENANT_ID, "
            "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET."
        )

    async def _proof(self) -> dict[str, str]:
        if self._file is None:
            assert self._secret is not None
            return {"client_secret": self._secret.reveal()}
        try:
            text = await asyncio.to_thread(self._file.read_text, "utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"The file {self._file}, named by AZURE_FEDERATED_TOKEN_FILE, cannot be read: {type(error).__name__}."
            ) from None
        return {"client_assertion_type": ASSERTION, "client_assertion": text.strip()}

    def _shown(self, text: str) -> str:
        return text if self._secret is None else self._secret.redact(text)


def make_tokens(token: str, http: HttpClient) -> BearerTokens:
    """What `token=` asks for: "entra", or a function by its name. Raises ConfigurationError."""
    return BearerTokens(Entra(http).ask if token == "entra" else tokens_by(token))  # noqa: S105  a way, and no token


def _named(name: str, *others: str) -> str:
    value = os.environ.get(name)
    if not value:
        both = " or ".join((name, *others))
        raise ConfigurationError(f"azure: token='entra' needs {both} in the environment.")
    return value


def _end(given: int | str | None) -> float | None:
    seconds = given if isinstance(given, int) else int(given) if given is not None and given.isdecimal() else None
    return None if seconds is None else time.time() + seconds
