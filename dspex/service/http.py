"""HTTP for one endpoint, over one aiohttp session a loop; every size, silence and fault of the wire is bounded here.

The time of a whole attempt is the LM service's, which has one timer around it. aiohttp is imported at the first request.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

import msgspec

from dspex.core.clock import Clock, SystemClock
from dspex.core.endpoint import Endpoint
from dspex.core.errors import BadRequest, ConfigurationError, LMError, LMTimeout, ProtocolError, Unavailable
from dspex.core.secret import Headers
from dspex.core.wire import HttpLimits, HttpReply, MakeFraming, ServerEvent
from dspex.plugin.per_loop import PerLoop
from dspex.plugin.statuses import redacted, status_error
from dspex.service.connections import NEW_SOCKETS, Pool
from dspex.service.proxies import proxied
from dspex.service.sse import EVENTS, EventReader

if TYPE_CHECKING:
    from aiohttp import ClientResponse

ToldHook = Callable[[int, Mapping[str, str]], None]
ErrorHook = Callable[[int, Mapping[str, str], bytes], LMError | None]

RESENDS = 3  # on kept connections that turn out to be dead; beyond them it is a fault like any other
TLS_ADVICE = "For a certificate of your own set SSL_CERT_FILE to its CA; for a server without TLS use http://."
PROXY_ADVICE = "It is that of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; NO_PROXY names hosts to reach without it."
LINGER_S = 0.05  # how long a stream that nobody reads any more may take to end, which leaves its connection usable
LOOK_S = 0.5  # how often a reply that is waited for is looked at, whether its connection still stands
LARGE = 1 << 20  # a body of this size is written in pieces, as aiohttp would send it in one and hold up the loop


class HttpService:
    """The HttpClient of one endpoint, for all loops and threads of an App; `error` is the provider's own mapping.

    `told` is given status and headers of each reply, for what they say of limits; a refusal without a date gets that of
    `clock`, as it may name a time to come back.

    Raises ConfigurationError when it is made, for a base URL that is not plain http(s) with a host.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        error: ErrorHook | None = None,
        limits: HttpLimits = HttpLimits(),  # noqa: B008  # frozen
        told: ToldHook | None = None,
        clock: Clock = SystemClock(),  # noqa: B008  # it has no state
    ) -> None:
        self.endpoint = endpoint
        self.error = error
        self._told = told
        self._clock = clock
        self._limits = limits
        self._base = None if endpoint.base_url is None else checked_url(endpoint.base_url)
        self._headers = checked_headers(endpoint.headers)
        self._pool: PerLoop[Pool] = PerLoop(lambda: Pool(limits.connect_s), Pool.aclose)
        self._urls: dict[str, tuple[Any, Mapping[str, Any]]] = {}
        self._kept: tuple[Headers, tuple[str, bool], dict[str, str]] | None = None

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
        """One request; `path` joins base_url, or is a whole URL. Raises LMError classes.

        `is_final`: it is not sent again where a kept connection ends in silence, as it may have been taken.
        """
        response, headers = None, _hidden(headers)  # which a traceback with local variables does not show
        try:
            resends = 0 if is_final else RESENDS
            response = await self._send(method, path, json, body, headers, encoding="gzip", resends=resends)
            if not 200 <= response.status < 300:
                raise await self._refusal(response)
            whole = await self._read(response, self._limits.body)
            told = self._headers_of(response)
            if self._told is not None:
                self._told(response.status, told)
            return HttpReply(response.status, told, whole)
        except Exception as error:  # noqa: BLE001  # faults of the wire have classes of many packages; others pass
            failure = self._translated(error, path)
        finally:
            if response is not None and not response.closed:
                response.close()
        raise failure  # outside the block: aiohttp's error, which holds the request's headers, is no context of ours

    async def events(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        framings: Mapping[str, MakeFraming] = {},
    ) -> AsyncIterator[ServerEvent]:
        """The reply as events while they come; one event "body" with all of it where it is no stream of a known form."""
        response, silence, headers = None, None, _hidden(headers)
        try:
            response = await self._send(method, path, json, body, headers, encoding="identity")
            if not 200 <= response.status < 300:
                raise await self._refusal(response)
            if self._told is not None:
                self._told(response.status, response.headers)
            framing = EventReader if response.content_type == EVENTS else framings.get(response.content_type)
            if framing is None:
                whole = await self._read(response, self._limits.body)
                yield ServerEvent("body", whole.decode("utf-8", "replace"))
                return
            reader, silence = framing(self._limits.event), _Silence(response, self._limits.idle_s)
            while chunk := await silence.broken():
                for event in reader.feed(chunk):
                    yield event
        except GeneratorExit:
            if response is not None and not response.closed:
                await _linger(response)
            raise
        except Exception as error:  # noqa: BLE001  # as in request()
            failure = self._translated(error, path)
        else:
            return
        finally:
            if silence is not None:
                silence.stop()
            if response is not None and not response.closed:
                response.close()
        raise failure

    async def aclose(self) -> None:
        """Close the connections of all loops."""
        await self._pool.aclose()

    # Out

    async def _send(
        self,
        method: str,
        path: str,
        json: Any,
        body: bytes | None,
        headers: Headers,
        *,
        encoding: str,
        resends: int = RESENDS,
    ) -> "ClientResponse":
        names = self._names(headers, encoding, json is not None)
        if json is not None:
            body = _encoded(json)
        pool, (url, way) = self._pool.get(), self._urls.get(path) or self._url(path)
        while True:
            made: list[None] = []
            NEW_SOCKETS.set(made)  # and left set, as nobody else looks at it
            try:
                data: Any = body
                if body:
                    data = BytesIO(body) if len(body) > LARGE else pool.payload(body)
                return await pool.session.request(method, url, data=data, headers=names, allow_redirects=False, **way)
            except Exception as error:
                if made or not resends or not _died_in_silence(error):
                    raise
            resends -= 1

    def _names(self, headers: Headers, encoding: str, is_json: bool) -> Mapping[str, str]:
        kept = self._kept
        if kept is not None and kept[0] is headers and kept[1] == (encoding, is_json):
            return kept[2]  # a provider's are mostly the same
        names = {**headers.lowered, **self._headers}
        if encoding != "gzip":
            names = {"accept-encoding": encoding, **names}
        if is_json:
            names.setdefault("content-type", "application/json")
        self._kept = headers, (encoding, is_json), names
        return names

    def _url(self, path: str) -> tuple[Any, Mapping[str, Any]]:
        """A path's address, and by which proxy it is reached."""
        from yarl import URL

        url = URL(self._address(path))
        found = url, proxied(url)
        if len(self._urls) < 64:
            self._urls[path] = found
        return found

    def _address(self, path: str) -> str:
        if path[:8].lower().startswith(("http://", "https://")):
            address, _, query = path.partition("?")
            return f"{checked_url(address)}?{query}" if query else checked_url(address)
        if self._base is None:
            raise ConfigurationError(f"{self.endpoint.provider!r} has no address of its own: pass LM(..., api_base=).")
        return f"{self._base}/{path.lstrip('/')}"

    # In

    async def _read(self, response: "ClientResponse", limit: int, *, cut: bool = False) -> bytes:
        content, encoding = response.content, response.headers.get("content-encoding", "identity")
        if encoding == "identity" and content.is_eof():  # the usual case: all of it came with the headers
            whole = content.read_nowait()
            if len(whole) <= limit:
                return whole
            if not cut:
                raise _too_large(f"has {len(whole)} bytes", limit)
            return whole[:limit]
        announced = response.content_length or 0
        if announced > limit and not cut:
            raise _too_large(f"announces {announced} bytes", limit)
        if encoding not in ("gzip", "identity"):
            raise ProtocolError(f"The reply is encoded as {encoding!r:.40}, which was not asked for.")
        inflate = _Inflater(limit) if encoding == "gzip" else None
        silence = _Silence(response, self._limits.idle_s)
        parts, size = [], 0
        try:
            while size <= limit and (chunk := await silence.broken()):
                parts.append(inflate.feed(chunk) if inflate else chunk)
                size += len(parts[-1])
        finally:
            silence.stop()
        if size > limit and not cut:
            raise _too_large("goes on", limit)
        if inflate and not cut:
            inflate.end()
        return b"".join(parts)[:limit]

    def _headers_of(self, response: "ClientResponse") -> dict[str, str]:
        size, headers = 0, {}
        for name, value in response.headers.items():
            size += len(name) + len(value)
            headers[name.lower()] = value
        if size > self._limits.headers:
            raise ProtocolError(f"The reply's headers have more than {self._limits.headers} bytes.")
        return headers

    async def _refusal(self, response: "ClientResponse") -> LMError:
        from email.utils import formatdate

        status, headers = response.status, self._headers_of(response)
        headers.setdefault("date", formatdate(self._clock.now(), usegmt=True))
        if self._told is not None:
            self._told(status, headers)
        try:
            body = await self._read(response, self._limits.error_body, cut=True)
        except Exception:  # noqa: BLE001  # the status says more than what is wrong with its body
            body = b""
        error = status_error(self.endpoint, status, headers, body, base_url=_shown(self._base or str(response.url)))
        if self.error is None:
            return error
        refined = self.error(status, headers, body)
        if refined is None:
            return error
        refined.status, refined.request_id = refined.status or status, refined.request_id or error.request_id
        refined.retry_after = error.retry_after if refined.retry_after is None else refined.retry_after
        return refined

    def _translated(self, error: Exception, path: str) -> Exception:
        """The error to raise; without aiohttp's own as its cause, since that holds the request's headers."""
        if isinstance(error, (LMError, ConfigurationError)):
            return error
        made = _network_error(error, _shown(self._address(path)), self._limits)
        if made is None:
            return error
        made.message = redacted(self.endpoint, made.message)
        made.args = (made.message,)
        cause = getattr(error, "os_error", None)
        made.__cause__ = cause if isinstance(cause, OSError) else None
        return made


def _hidden(headers: Mapping[str, str]) -> Headers:
    return headers if isinstance(headers, Headers) else Headers(headers)


class _Silence:
    """Breaks off a response on which nothing comes for `limit` seconds while somebody waits, or nothing can come any more;
    one timer a response.
    """

    __slots__ = ("_limit", "_loop", "_response", "_since", "_timer", "_too_long")

    def __init__(self, response: "ClientResponse", limit: float) -> None:
        self._response = response
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._too_long = False
        self._timer = self._loop.call_later(min(limit, LOOK_S), self._look)

    async def broken(self) -> bytes:
        """The next bytes, empty at the end. Raises LMTimeout."""
        self._since = self._loop.time()
        try:
            return await self._response.content.readany()
        except Exception:
            if self._too_long:
                raise LMTimeout(f"Nothing came for {self._limit:g} s in the middle of the reply.") from None
            raise
        finally:
            self._since = None

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now, content, connection = self._loop.time(), self._response.content, self._response.connection
        left = (now if self._since is None else self._since) + self._limit - now
        is_lost = connection is not None and connection.transport is None
        if is_lost and not content.is_eof() and content.exception() is None:
            # aiohttp closes the connection on a body that breaks its encoding, and leaves who reads it waiting.
            from aiohttp import ClientPayloadError

            content.set_exception(ClientPayloadError("its encoding is not that of HTTP"))
        elif left > 0:
            self._timer = self._loop.call_later(min(left, LOOK_S), self._look)
        else:
            self._too_long = True
            self._response.close()


class _Inflater:
    """gzip, never more than one byte beyond `limit` of it."""

    def __init__(self, limit: int) -> None:
        self._left = limit + 1
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def feed(self, data: bytes) -> bytes:
        parts = []
        while data and self._left > 0:
            if self._stream.eof:  # gzip members may follow each other
                self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
            parts.append(self._stream.decompress(data, self._left))
            self._left -= len(parts[-1])
            data = self._stream.unused_data
        return b"".join(parts)

    def end(self) -> None:
        if not self._stream.eof:
            raise ProtocolError("The reply's gzip data ends too early.")


def checked_url(url: str) -> str:
    """`url` without a slash at its end. Raises ConfigurationError unless it is plain http(s) with a host."""
    wanted = "an address looks like https://host/v1: http or https, a host, no user:password@, no query"
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigurationError(f"An api_base is not an address; {wanted}.") from None
    scheme, plain = parts.scheme, url.isprintable() and " " not in url and not parts.query and not parts.fragment
    if scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not (plain and port_is_good):
        raise ConfigurationError(f"api_base {_shown(url)!r} cannot be used; {wanted}.")
    return url.rstrip("/")


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Header names in lower case. Raises ConfigurationError for what would break out of its line."""
    for name, value in headers.items():
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum() or not value.isprintable():
            raise ConfigurationError(
                f"The header {name!r} has characters in its name or value that no header may have."
            )
    return {name.lower(): value for name, value in headers.items()}


def _shown(url: str) -> str:
    """An address for people: no password, no query."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url[:200]
    address = rest.split("?")[0].split("#")[0]
    return f"{scheme}://{address.rpartition('@')[2]}"[:200]


def _encoded(json: Any) -> bytes:
    try:
        return msgspec.json.encode(json)
    except (TypeError, ValueError) as error:  # a lone surrogate is a ValueError
        raise BadRequest(f"The request cannot be written as JSON: {error}") from error


async def _linger(response: "ClientResponse") -> None:
    with suppress(Exception):
        async with asyncio.timeout(LINGER_S):
            await response.content.wait_eof()


def _too_large(what: str, limit: int) -> ProtocolError:
    return ProtocolError(f"The reply {what} beyond the limit of {limit} bytes; it was not read.", retryable=False)


def _died_in_silence(error: Exception) -> bool:
    """Whether a connection ended before any byte of the reply."""
    from aiohttp import ClientConnectorError, ClientOSError, ServerDisconnectedError

    if isinstance(error, ServerDisconnectedError):
        return isinstance(error.message, str)  # else it is the part of the reply that came
    return isinstance(error, ClientOSError) and not isinstance(error, ClientConnectorError)


def _network_error(error: Exception, host: str, limits: HttpLimits) -> LMError | None:
    """A fault of the wire as one of our errors, the most special class first; None for what is no such fault."""
    import aiohttp

    reason = str(getattr(error, "os_error", None) or error)[:300] or type(error).__name__
    if isinstance(error, RuntimeError) and "closed" in reason:
        return Unavailable(f"The connection to {host} was closed on our side.", retryable=False)
    rows: tuple[tuple[Any, type[LMError], str], ...] = (
        (aiohttp.ClientSSLError, Unavailable, f"No trusted TLS connection to {host}: {reason}. {TLS_ADVICE}"),
        (
            aiohttp.ClientProxyConnectionError,
            Unavailable,
            f"No connection to the proxy for {host}: {reason}. {PROXY_ADVICE}",
        ),
        (
            aiohttp.ClientHttpProxyError,
            Unavailable,
            f"The proxy does not let through to {host}: {_proxys(error)}. {PROXY_ADVICE}",
        ),
        (aiohttp.ConnectionTimeoutError, LMTimeout, f"No connection to {host} within {limits.connect_s:g} s."),
        (aiohttp.ClientConnectorDNSError, Unavailable, f"No address for {host}: {reason}. Check api_base and network."),
        (aiohttp.ClientConnectorError, Unavailable, f"No connection to {host}: {reason}. Does the server run there?"),
        (aiohttp.ClientPayloadError, ProtocolError, f"The reply of {host} broke off: {reason}"),
        (aiohttp.ClientResponseError, ProtocolError, f"{host} does not answer in HTTP: {reason}"),
        (aiohttp.http.HttpProcessingError, ProtocolError, f"{host} does not answer in HTTP: {reason}"),
        (zlib.error, ProtocolError, f"The reply of {host} is damaged: {reason}"),
        (aiohttp.ServerDisconnectedError, Unavailable, f"{host} closed the connection before it replied."),
        ((aiohttp.ClientError, OSError), Unavailable, f"The connection to {host} broke: {reason}"),
    )
    is_final = isinstance(error, aiohttp.ClientSSLError) or (
        isinstance(error, aiohttp.ClientHttpProxyError) and error.status < 500
    )
    for kinds, ours, message in rows:
        if isinstance(error, kinds):
            return ours(message, retryable=False if is_final else None)
    return None


def _proxys(error: Exception) -> str:
    """A proxy's words; its address is not told, as that may hold a password."""
    return f"{getattr(error, 'status', '')} {getattr(error, 'message', '')}".strip()[:200]
