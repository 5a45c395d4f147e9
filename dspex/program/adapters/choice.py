"""Which adapter a call uses: the one that was set, else the one that fits what the model can do."""

from typing import Any

from dspex.core.endpoint import Capabilities
from dspex.plugin.manager import PluginManager
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import JSONAdapter
from dspex.program.adapters.plain import PlainAdapter

CHAT = ChatAdapter()
PLAIN = PlainAdapter()
JSON = JSONAdapter()


def adapter_for(wanted: Any, capabilities: Capabilities, plugins: PluginManager) -> Any:
    """The adapter: `wanted` as an object, a built-in name or a plugin's; None: Plain for a model without chat, else Chat."""
    if wanted is None:
        return PLAIN if capabilities.chat is False else CHAT
    if not isinstance(wanted, str):
        return wanted
    for adapter in (CHAT, PLAIN, JSON):
        if adapter.name == wanted:
            return adapter
    return plugins.spec("adapters", wanted, f"configure(adapter={wanted!r})").load()({})


def reask_adapter(adapter: Any, capabilities: Capabilities) -> Any | None:
    """The adapter of the one more call after a reply that does not parse; None: there is no such call.

    JSON form where the adapter allows it (`use_json_adapter_fallback`) and the model chats, else the adapter's own.
    """
    if getattr(adapter, "use_json_adapter_fallback", False) and capabilities.chat is not False:
        return JSON
    return adapter if hasattr(adapter, "reask") else None
