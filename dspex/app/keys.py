"""Where an endpoint's key comes from: the environment, a file that is named there, or a plugin's vault."""

import asyncio
import os
from collections.abc import Callable, Iterable

from dspex.core.errors import ConfigurationError, PluginError
from dspex.core.secret import Secret
from dspex.plugin.spec import Spec

LONGEST_FILE = 65_536
ASK_LIMIT_S = 10.0


def variable_of(provider: str) -> str:
    """The environment variable that holds a provider's key, as OPENAI_API_KEY; vaults know the key by that name too."""
    return f"{provider.upper().replace('-', '_')}_API_KEY"


def environment_key(variable: str) -> Secret | None:
    """The key in an environment variable, or in the file that `VARIABLE_FILE` names. Raises ConfigurationError."""
    value = os.environ.get(variable)
    if value:
        return Secret(value, f"the environment variable {variable}")
    path = os.environ.get(f"{variable}_FILE")
    if not path:
        return None
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  # read to a bound
            text = file.read(LONGEST_FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The file {path}, named by {variable}_FILE, cannot be read: {type(error).__name__}."
        ) from None
    return Secret(text, f"the file {path}, named by {variable}_FILE")


async def vault_key(sources: Iterable[Spec], name: str, told: Callable[[str, bool], None]) -> Secret | None:
    """The key that the first of the sources has; `told(source, found)` hears of each that was asked. Raises PluginError."""
    for spec in sources:
        try:
            async with asyncio.timeout(ASK_LIMIT_S):
                value = await spec.load()().get(name)
        except (Exception, SystemExit) as error:  # the source is a plugin
            message = f"The secret source {spec.name!r} failed: {type(error).__name__}."
            raise PluginError(message, plugin=spec.name) from error
        told(spec.name, value is not None)
        if value is not None:
            return Secret(value, f"the secret source {spec.name!r}")
    return None
