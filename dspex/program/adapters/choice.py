"""Which adapter a call uses, and in what form it asks: what was set, else what fits the model; with the reason."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import msgspec

from dspex.app.plugged import check_adapter
from dspex.core.endpoint import Capabilities
from dspex.core.errors import ConfigurationError
from dspex.plugin.catalog import OWN_ADAPTERS
from dspex.plugin.manager import PluginManager
from dspex.program.reply_function import goes_by_function

# What a user asks for in these excludes a schema of ours.
OWN_FORMS = frozenset({"response_format", "grammar"})
OWN_FUNCTIONS = frozenset({"tools", "tool_choice"})


class AdapterChoice(msgspec.Struct, frozen=True):
    """An adapter, the JSON schema that the provider holds replies to (None: asked for in words), and why."""

    adapter: Any
    schema: Mapping[str, Any] | None
    reason: str


def choose(
    wanted: Any, signature: Any, capabilities: Capabilities, plugins: PluginManager, params: Iterable[str]
) -> AdapterChoice:
    """The choice for `wanted`: an adapter, its name, or None for what fits the model; `params` are the call's by name.

    Raises ConfigurationError for a name that nobody offers.
    """
    if wanted is None and capabilities.chat is not False:
        return _default(bool(capabilities.chat))
    if wanted is None:
        return AdapterChoice(_built_in("plain"), None, "the LM takes no turns")
    adapter = _named(wanted, plugins) if isinstance(wanted, str) else wanted
    if isinstance(adapter, type):
        raise ConfigurationError(f"adapter={adapter.__name__} is a class: give an object, {adapter.__name__}(...).")
    if not hasattr(adapter, "render"):
        raise ConfigurationError(f"adapter={adapter!r:.80} has no `render`: make it a subclass of dspex.Adapter.")
    schema, reason = schema_for(adapter, signature, capabilities, params)
    return AdapterChoice(adapter, schema, f"the adapter was set{reason and f'; {reason}'}")


@cache
def _default(takes_turns: bool) -> AdapterChoice:
    known = "the default for an LM that takes turns"
    return AdapterChoice(
        _built_in("chat"), None, known if takes_turns else "the default; whether the LM takes turns is not known"
    )


def schema_for(
    adapter: Any, signature: Any, capabilities: Capabilities, params: Iterable[str]
) -> tuple[Mapping[str, Any] | None, str]:
    """The schema that an adapter wants a reply held to, or None, and why."""
    schema = getattr(adapter, "schema", None)
    if schema is None or not signature.outputs:  # all of them travel beside the text
        return None, ""
    if own := OWN_FORMS.intersection(params):
        return None, f"{min(own)}= says what form the reply has"
    if goes_by_function(capabilities) and OWN_FUNCTIONS.intersection(params):
        return None, "asked for in words: the functions to call are the task's own"
    found: tuple[Mapping[str, Any] | None, str] = schema(signature, capabilities)
    return found


def _named(name: str, plugins: PluginManager) -> Any:
    if name in OWN_ADAPTERS:
        return _built_in(name)
    check_adapter(name, plugins)
    return plugins.made("adapters", name)


def _built_in(name: str) -> Any:
    """Of a module beside this one, its constant of that name."""
    return getattr(import_module(f"dspex.program.adapters.{name}"), name.upper())


def reask_adapter(adapter: Any, capabilities: Capabilities) -> Any | None:
    """The adapter of the one more call after a reply that does not parse; None: there is no such call.

    JSON form where the adapter allows it (`use_json_adapter_fallback`) and the model chats, else the adapter's own.
    """
    if getattr(adapter, "use_json_adapter_fallback", False) and capabilities.chat is not False:
        return _built_in("json")
    return adapter if hasattr(adapter, "reask") else None
