"""What every source of API keys must do, as tests that a plugin's own test class inherits; no network of its own."""

import asyncio
import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from dspex.app.app import App
from dspex.app.lm import LM
from dspex.core.errors import PluginError
from dspex.core.messages import LMResponse
from dspex.plugin.contracts import SecretSource
from dspex.plugin.spec import Spec
from dspex.testing.conduct import cancelled, going_on, holder, logged
from dspex.testing.one_plugin import manager_of

LIMIT_S = 10.0
THREADS = 4
CANARY = "sk-kit-canary-0123456789"
KEYS: Mapping[str, str] = MappingProxyType(
    {"KIT_API_KEY": CANARY, "KIT_TWO_API_KEY": "sk-two-9876543210", "KIT_ODD_API_KEY": "a+b/c==:d?e&f%20"}
)


class SecretSourceContract:
    """Subclass it as `TestMine` and give `make`: a source whose vault holds exactly these keys.

    `broken` is one whose vault cannot be reached, or that is refused there; None: that cannot happen.
    """

    def make(self, keys: Mapping[str, str]) -> SecretSource:
        """The source, over a vault of the test's own: a folder, a double, a server on the loopback."""
        raise NotImplementedError

    def broken(self) -> SecretSource | None:
        """A source that cannot ask its vault."""
        return None

    def test_it_is_asked_by_an_async_function(self) -> None:
        assert inspect.iscoroutinefunction(self.make(KEYS).get), "`get` is awaited: make it `async def get(self, name)`"

    def test_a_key_comes_as_it_is_and_an_absent_one_is_none(self) -> None:
        async def main() -> None:
            source = self.make(KEYS)
            for name, value in KEYS.items():
                assert await source.get(name) == value, f"{name} came back changed"
            for name in ("KIT_API_KE", "KIT_API_KEY_", "kit_api_key", "OTHER_API_KEY", "KIT"):
                assert await source.get(name) is None, f"{name} is not in the vault: give None, and no other key"

        bounded(main())

    def test_an_empty_vault_has_no_key(self) -> None:
        async def main() -> None:
            assert await self.make({}).get("KIT_API_KEY") is None

        bounded(main())

    def test_it_is_asked_again_and_again_from_several_loops_and_threads(self) -> None:
        source = self.make(KEYS)

        async def all_of_them() -> list[str | None]:
            return list(await asyncio.gather(*(source.get(name) for name in KEYS for _ in range(3))))

        async def main() -> None:
            def serve() -> list[str | None]:
                return asyncio.run(all_of_them())

            found = await asyncio.gather(*(asyncio.to_thread(serve) for _ in range(THREADS)))
            assert found == [[value for value in KEYS.values() for _ in range(3)]] * THREADS

        bounded(main())

    def test_its_keys_are_not_shown(self) -> None:
        source = self.make(KEYS)

        async def main() -> None:
            await source.get("KIT_API_KEY")

        with logged() as lines:
            bounded(main())
        assert CANARY not in f"{source} {source!r}", "a key stands in its repr, and so in logs"
        assert not [line for line in lines if CANARY in line], "it logs a key"
        assert CANARY not in os.environ.values(), "it puts a key into the environment, for every process to see"

    def test_it_holds_no_loop(self) -> None:
        async def main() -> None:
            source = self.make(KEYS)
            await source.get("KIT_API_KEY")  # the first loads what it needs
            held = await holder(lambda: source.get("KIT_API_KEY"))
            assert not held, held

        bounded(main())

    def test_cancelled_it_ends(self) -> None:
        async def main() -> None:
            source = self.make(KEYS)
            for turns in range(4):
                await cancelled(source.get("KIT_API_KEY"), turns, LIMIT_S / 5)
            assert await source.get("KIT_API_KEY") == CANARY

        bounded(main())

    def test_a_vault_that_cannot_be_asked_is_an_error_and_not_an_absent_key(self) -> None:
        source = self.broken()
        if source is None:
            return

        async def main() -> None:
            [found] = await asyncio.gather(source.get("KIT_API_KEY"), return_exceptions=True)
            assert isinstance(found, Exception), f"it gave {found!r:.9}: a call would go out without a key"
            assert not isinstance(found, TimeoutError), "it waits until it is given up"

        bounded(main())

    # In an App

    def test_a_provider_is_given_the_key_and_an_environment_has_the_first_word(self) -> None:
        with environment(KIT_API_KEY=None):
            assert self.key_of_a_call(self.make(KEYS)) == CANARY
        with environment(KIT_API_KEY="sk-from-the-environment"):
            assert self.key_of_a_call(self.make(KEYS)) == "sk-from-the-environment"

    def test_its_failure_is_named_without_a_key(self) -> None:
        source = self.broken()
        if source is None:
            return
        told = ""
        with environment(KIT_API_KEY=None):
            try:
                self.key_of_a_call(source)
            except PluginError as error:
                told = str(error)
        assert "'kit-vault' failed" in told, "the call went out without a key"

    def key_of_a_call(self, source: SecretSource) -> str:
        """The key that a provider gets whose user gave none."""
        given: list[str] = []

        class Provider:
            def __init__(_self, endpoint: Any, _http: Any) -> None:  # noqa: N805  the kit's own is in use
                given.append(endpoint.api_key.reveal() if endpoint.api_key else "")

            async def complete(_self, _request: Any) -> LMResponse:  # noqa: N805  as above
                return LMResponse.from_text("yes")

        plugins = manager_of(
            "kit",
            lm_providers=lambda: [Spec("kit", Provider)],
            secret_sources=lambda: [Spec("kit-vault", lambda: source)],
        )

        async def main() -> None:
            async with App(plugins=plugins, cache=False):
                await LM("kit/model", num_retries=0).acall("?")

        bounded(main())
        return given[0]


def bounded(work: Any) -> None:
    """Run a coroutine that must end within the kit's time, and leave no task."""

    async def main() -> None:
        async with asyncio.timeout(LIMIT_S):
            await work
        await asyncio.sleep(0)
        assert not going_on(), f"tasks go on: {going_on()}"

    asyncio.run(main())


@contextmanager
def environment(**values: str | None) -> Iterator[None]:
    """These variables of the environment, None: absent; as they were afterwards."""
    before = {name: os.environ.get(name) for name in values}

    def put(name: str, value: str | None) -> None:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

    for name, value in values.items():
        put(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            put(name, value)
