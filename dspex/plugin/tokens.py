"""Tokens that run out, for services that know no keys: asked for when needed, kept until shortly before their end."""

import asyncio
import importlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from inspect import iscoroutinefunction
from typing import Any

import msgspec

from dspex.core.errors import AuthError, ConfigurationError, LMError
from dspex.core.secret import Headers, Secret
from dspex.core.wire import HttpReply, MakeFraming, ServerEvent
from dspex.plugin.contracts import HttpClient
from dspex.plugin.per_loop import PerLoop

EARLY_S = 300.0  # before a token's end another is asked for
UNSAID_S = 600.0  # how long a token is kept that does not say when it ends


class Token(msgspec.Struct, frozen=True):
    """A token, and until when it is good, in seconds since 1970; None: it does not say."""

    value: Secret
    ends_at: float | None = None


Ask = Callable[[], Awaitable[Token]]


class BearerTokens:
    """The header that shows a token which `ask` gives; used from several loops and threads at once, each of which asks one at a time.

    One that can still be used stands in where another can not be had. `now` is the time, in seconds since 1970.
    """

    def __init__(self, ask: Ask, now: Callable[[], float] = time.time) -> None:
        self._ask = ask
        self._now = now
        self._turns: PerLoop[asyncio.Lock] = PerLoop(asyncio.Lock, _nothing)
        self._kept: tuple[Headers, float, float] | None = None  # the header, from when on another is asked for, its end

    async def headers(self) -> Headers:
        """`authorization`, with a token that is good. Raises what `ask` does, as an LMError or ConfigurationError."""
        return self._good() or await self._renewed()

    def _good(self) -> Headers | None:
        kept = self._kept
        return kept[0] if kept is not None and self._now() < kept[1] else None

    async def _renewed(self) -> Headers:
        async with self._turns.get():
            found = self._good()
            if found is not None:
                return found
            try:
                token = await self._ask()
            except LMError:
                if self._kept is None or self._now() >= self._kept[2]:
                    raise
                return self._kept[0]
            now = self._now()
            ends_at = now + UNSAID_S if token.ends_at is None else token.ends_at
            early = min(EARLY_S, max(0.0, ends_at - now) / 2)
            made = Headers({"authorization": f"Bearer {token.value.reveal()}"})
            self._kept = (made, ends_at - early, ends_at)
            return made


class BearerHttp:
    """An HttpClient whose every request shows a token, beside the headers of its own."""

    def __init__(self, http: HttpClient, tokens: BearerTokens) -> None:
        self._http = http
        self._tokens = tokens

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
        """As that of an HttpClient; raises what asking for a token does, too."""
        shown = Headers({**headers, **await self._tokens.headers()})
        return await self._http.request(method, path, json=json, body=body, headers=shown, is_final=is_final)

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
        shown = Headers({**headers, **await self._tokens.headers()})
        async with aclosing(
            self._http.events(method, path, json=json, body=body, headers=shown, framings=framings)
        ) as coming:
            async for event in coming:
                yield event


def tokens_by(path: str) -> Ask:
    """What asks the function at `package.module:name`, of no arguments, for a token.

    It is sync, then called in a thread, or async, and gives the token's text, a pair of that and its end in seconds since 1970, or an
    object with `token` and `expires_on`. Raises ConfigurationError for what cannot be imported.
    """
    module, _, name = path.partition(":")
    try:
        function: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"token={path!r}: write package.module:function, of what can be imported ({type(error).__name__}: {error})."
        ) from error

    async def ask() -> Token:
        try:
            given = await function() if iscoroutinefunction(function) else await asyncio.to_thread(function)
        except (LMError, ConfigurationError):
            raise
        except Exception as error:  # a user's function
            raise AuthError(f"The function {path} gave no token: {type(error).__name__}.") from error
        return _token(given, path)

    return ask


def _token(given: Any, path: str) -> Token:
    value, ends_at = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if hasattr(given, "token"):
        value, ends_at = given.token, getattr(given, "expires_on", None)
    if not isinstance(value, str) or not (ends_at is None or isinstance(ends_at, int | float)):
        raise ConfigurationError(f"The function {path} gave {type(given).__name__}, which is no token.")
    return Token(Secret(value, f"the function {path}"), ends_at)


async def _nothing(_: Any) -> None:
    pass
