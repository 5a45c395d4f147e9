"""From a handle's keywords to the endpoint that its calls go to."""

from collections.abc import Mapping
from typing import Any

import msgspec

from dspex.app.app import App
from dspex.core.endpoint import Capabilities, Endpoint
from dspex.core.errors import ConfigurationError
from dspex.core.nearest import did_you_mean
from dspex.core.secret import Headers, Secret
from dspex.core.wire import HttpLimits
from dspex.service.attempts import Terms
from dspex.service.breaker import BreakerPolicy
from dspex.service.limits import Pace

PACE = frozenset(Pace.__struct_fields__)
# A call cannot change where it goes to and what it shows there; as one of its parameters a key would be sent and kept.
HANDLES_OWN = PACE | {
    *("api_key", "api_base", "base_url", "headers", "extra_headers", "provider", "model", "model_type", "callbacks"),
    *("breaker", "http_limits", "capabilities", "stream"),
}


def terms(
    *,
    max_in_flight: int | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    adaptive: bool = False,
    breaker: BreakerPolicy | bool = True,
    http_limits: HttpLimits = HttpLimits(),  # noqa: B008  # frozen
    capabilities: Capabilities | Mapping[str, Any] | None = None,
) -> Terms:
    """How a handle's keywords want its endpoint treated; breaker False: none, True: the usual one. Raises ConfigurationError."""
    check_kind("breaker", breaker, BreakerPolicy | bool | None, "a BreakerPolicy, True or False")
    check_kind("http_limits", http_limits, HttpLimits, "an HttpLimits")
    check_kind("capabilities", capabilities, Capabilities | Mapping | None, "a Capabilities, or a dict of some of them")
    pace = Pace(max_in_flight, requests_per_minute, tokens_per_minute, adaptive)
    return Terms(pace, BreakerPolicy() if breaker is True else breaker or None, http_limits, _known(capabilities))


def check_kind(name: str, given: Any, kind: Any, wanted: str) -> None:
    """Raises ConfigurationError for a keyword of another kind."""
    if not isinstance(given, kind):
        raise ConfigurationError(f"{name}={given!r:.80}: it takes {wanted}.")


def _known(given: Capabilities | Mapping[str, Any] | None) -> Capabilities | None:
    if given is None or isinstance(given, Capabilities):
        return given
    fields = Capabilities.__struct_fields__
    for name in given.keys() - set(fields):
        raise ConfigurationError(
            f"capabilities={{{name!r}: ...}}: there is no such one.{did_you_mean(name, fields)} They are: {', '.join(fields)}."
        )
    try:
        return msgspec.convert(dict(given), Capabilities)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"capabilities={given!r:.200}: {error}") from error


def changed_terms(now: Terms, given: dict[str, Any]) -> Terms:
    """These terms with what of them is `given`, which is taken out there. Raises ConfigurationError."""
    pace = msgspec.structs.asdict(now.pace)
    own = {**pace, "breaker": now.breaker or False, "http_limits": now.http, "capabilities": now.known}
    return terms(**{name: given.pop(name, value) for name, value in own.items()})


class Connection(msgspec.Struct, frozen=True):
    """What LM, Embedder and Retriever take alike: where the endpoint is, and what it is shown."""

    api_key: Secret | None = None
    base_url: str | None = None
    headers: Headers = Headers({})
    keyless: bool = False  # nothing is sent as a key, not the environment's either

    @classmethod
    def of(
        cls,
        api_key: str | Secret | None,
        api_base: str | None,
        base_url: str | None,
        *headers: Mapping[str, str] | None,
    ) -> "Connection":
        """From a handle's keywords; the address has two names, and an empty key says that there is none.

        Raises ConfigurationError for what cannot be one.
        """
        # None is shown, whatever it is: it may hold a key.
        hidden = [("headers", one, Mapping | None, "a dict of texts") for one in headers]
        for name, given, kind, wanted in (("api_key", api_key, str | Secret | None, "a text"), *hidden):
            if not isinstance(given, kind):
                raise ConfigurationError(f"{name}= takes {wanted}, not a value of type {type(given).__name__}.")
        address = base_url if api_base is None else api_base
        check_kind("api_base", address, str | None, "an address")
        key = Secret(api_key) if isinstance(api_key, str) and api_key else api_key or None
        together = {name: value for one in headers for name, value in (one or {}).items()}
        return cls(key, address, Headers(together), keyless=api_key == "")

    def changed(self, given: dict[str, Any]) -> "Connection":
        """This one with what of it is `given`, which is taken out there. Raises ConfigurationError."""
        base_url = given.pop("base_url", self.base_url)
        headers = given.pop("headers", given.pop("extra_headers", self.headers))
        key = given.pop("api_key", "" if self.keyless else self.api_key)
        return Connection.of(key, given.pop("api_base", None), base_url, headers)

    def bare(self, provider: str, model: str) -> Endpoint:
        """An endpoint without options, for a provider that is an object of the user's."""
        return Endpoint(provider, model, self.base_url, self.api_key, self.headers)

    def endpoint(
        self, app: App, kind: str, name: str, given: Mapping[str, Any], asked: str
    ) -> tuple[Endpoint, dict[str, Any]]:
        """The endpoint of a "provider/model", with those of the keywords `given` that are the provider's options, and the other keywords.

        Without an explicit key it is `App.key_of` the provider. Raises ConfigurationError for an unknown provider.
        """
        provider, _, model = name.partition("/")
        spec = app.plugins.spec(kind, provider, asked)
        known = {field.name for field in msgspec.structs.fields(spec.options)} if spec.options else set()
        options = {word: value for word, value in given.items() if word in known}
        others = {word: value for word, value in given.items() if word not in known}
        key = None if self.keyless else self.api_key or app.key_of(provider)
        return Endpoint(provider, model, self.base_url, key, self.headers, options), others

    def strict_endpoint(self, app: App, kind: str, name: str, given: Mapping[str, Any], asked: str) -> Endpoint:
        """As `endpoint`, for handles whose keywords are options only. Raises ConfigurationError for any other."""
        endpoint, others = self.endpoint(app, kind, name, given, asked)
        for word in others:
            options = app.plugins.spec(kind, endpoint.provider).options
            known = [field.name for field in msgspec.structs.fields(options)] if options else []
            raise ConfigurationError(
                f"{asked}: {word!r} is no option of {endpoint.provider!r}.{did_you_mean(word, known)} "
                f"Options: {', '.join(known) or 'none'}."
            )
        return endpoint
