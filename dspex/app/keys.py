"""Where an endpoint's key comes from: the environment, a file that is named there, or a plugin's vault."""

import asyncio
import os
from collections.abc import Callable, Iterable

from dspex.core.errors import ConfigurationError, PluginError
from dspex.core.guests import PASSING
from dspex.core.secret import Secret
from dspex.plugin.spec import Spec

LONGEST_FILE = 65_536
ASK_LIMIT_S = 10.0


def key_variables(provider: str) -> tuple[str, str]:
    """The environment variables for a provider's key: OPENAI_API_KEY and OPENAI_API_KEY_FILE; vaults know it by the first."""
    name = f"{provider.upper().replace('-', '_')}_API_KEY"
    return name, f"{name}_FILE"


def key_in(variable: str) -> Secret:
    """The key in an environment variable, or in the file that one on _FILE names. Raises ConfigurationError."""
    value = os.environ[variable]
    if not variable.endswith("_FILE"):
        return Secret(value, f"the environment variable {variable}")
    try:
        with open(value, encoding="utf-8") as file:  # noqa: PTH123  # read to a bound
            text = file.read(LONGEST_FILE)
    except (OSError, UnicodeDecodeError) as error:
        message = f"The file {value}, named by {variable}, cannot be read: {type(error).__name__}."
        raise ConfigurationError(message) from None
    return Secret(text, f"the file {value}, named by {variable}")


def environment_key(provider: str) -> Secret | None:
    """The key that the environment has for a provider. Raises ConfigurationError for what cannot be one."""
    found = next((name for name in key_variables(provider) if os.environ.get(name)), None)
    return None if found is None else key_in(found)


async def vault_key(sources: Iterable[Spec], name: str, told: Callable[[str, bool], None]) -> Secret | None:
    """The key that the first of the sources has; `told(source, found)` hears of each that was asked. Raises PluginError."""
    for spec in sources:
        try:
            async with asyncio.timeout(ASK_LIMIT_S):
                value = await spec.load()().get(name)
        except PASSING:
            raise
        except BaseException as error:  # the source is a plugin
            # Its own words may hold a key.
            why = f"no answer within {ASK_LIMIT_S:g} s" if isinstance(error, TimeoutError) else type(error).__name__
            message = (
                f"The secret source {spec.name!r} failed: {why}. Give the key by api_key= or {name}; DSPEX_PLUGINS=no:NAME "
                "leaves a plugin out."
            )
            raise PluginError(message, plugin=spec.name) from error
        told(spec.name, value is not None)
        if value is not None:
            return Secret(value, f"the secret source {spec.name!r}")
    return None
