"""One loaded model for the whole run, and requests to it."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dspex.plugin import Endpoint, HttpClient, LMRequest, Message, Spec
from dspex_llamacpp.provider import LlamaCppProvider

# Tests that are about how a model is loaded, and how it is let go.
LOADED_ANEW = ("cancelled", "threads", "forked", "let_go", "lets_it_go")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the joined model lies; the run's own, if it names one, so that 253 MB are not written by each."""
    with pytest.MonkeyPatch.context() as patch:
        if "DSPEX_CACHE_DIR" not in os.environ:
            patch.setenv("DSPEX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield Path(os.environ["DSPEX_CACHE_DIR"])


@pytest.fixture(scope="session")
def model() -> Iterator[LlamaCppProvider]:
    """Gemma, loaded by whichever test needs it first."""
    provider = open_model(context=1024)
    yield provider
    asyncio.run(provider.aclose())


@pytest.fixture(scope="session")
def kept() -> Iterator[Callable[[Spec], Spec]]:
    """Specs of a plugin's whose models stay loaded when an App lets them go: to load one takes a second."""
    made: dict[tuple[Any, str], Any] = {}

    def keeping(spec: Spec) -> Spec:
        kind = spec.load()

        def open_once(endpoint: Endpoint, http: HttpClient | None) -> Any:
            key = kind, repr(endpoint.options)
            if key not in made:
                made[key] = type(kind.__name__, (kind,), {"aclose": stay})(endpoint, http)
            return made[key]

        return msgspec.structs.replace(spec, factory=open_once)

    yield keeping
    for (kind, _), provider in made.items():
        asyncio.run(kind.aclose(provider))


@pytest.fixture
def is_kept(request: pytest.FixtureRequest, kept: Callable[[Spec], Spec]) -> None:
    """A kit's tests, but those about loading, share the model that it `offered`."""
    if not any(word in request.function.__name__ for word in LOADED_ANEW):
        request.instance.offered = kept(request.instance.offered)


async def stay(_provider: Any) -> None:
    """It is wanted by the next test."""


@pytest.fixture
def another() -> Iterator[Callable[..., LlamaCppProvider]]:
    """Further providers, by options and model; closed with the test."""
    made: list[LlamaCppProvider] = []

    def make(model: str = "gemma-3-270m", **options: object) -> LlamaCppProvider:
        made.append(open_model(model, **options))
        return made[-1]

    yield make
    for provider in made:
        asyncio.run(provider.aclose())


@pytest.fixture
def ask() -> Callable[..., LMRequest]:
    """A request of one user message; `n`, `schema` and `tools` by name, all else is a parameter."""
    return to_request


def open_model(model: str = "gemma-3-270m", **options: object) -> LlamaCppProvider:
    return LlamaCppProvider(Endpoint("llamacpp", model, options=options), None)


def to_request(text: str = "Once upon a time", **params: object) -> LMRequest:
    own = {name: params.pop(name) for name in ("n", "schema", "tools") if name in params}
    return LMRequest("gemma-3-270m", (Message.of("user", text),), params, **own)
