"""What a hook declares: a name and where to find what makes it."""

import importlib
from collections.abc import Callable
from typing import Any

import msgspec

from dspex.core.errors import PluginError

API_VERSION = 1
GROUP = "dspex"  # the entry-point group, and pluggy's name for the project


class Spec(msgspec.Struct, frozen=True):
    """One backend that a plugin offers.

    `factory` is a callable, or "package.module:attribute", imported at first use so that an installed plugin costs
    nothing until then. `api` is the number of the contracts that the plugin was written for. `options` is a Struct type whose fields become keywords of LM(...), Retriever(...) and so on.
    """

    name: str
    factory: str | Callable[..., Any]
    summary: str = ""
    api: int = 1  # the first, and for ever: what a plugin that says nothing was written for
    options: type | None = None

    def load(self) -> Callable[..., Any]:
        """The factory itself, imported if it is named by a string. Raises PluginError if that fails."""
        if not isinstance(self.factory, str):
            return self.factory
        module, _, attribute = self.factory.partition(":")
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a plugin's module does when it is imported
            raise PluginError(
                f"{self.name!r} could not be loaded from {self.factory!r}: {type(error).__name__}: {error}",
                plugin=self.name,
            ) from error
        return found
